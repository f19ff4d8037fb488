//! Several processes that train one network together, each on its own shards of every batch.
//!
//! The shards' gradients are summed in rank order, each rank adding to the partial sum of the one before: the same additions in the
//! same order as in one process, so the result is bit-identical.

use crate::error::{Error, Result};
use std::io::{Read, Write};
use std::ops::Range;

/// A process's membership in a group.
pub trait ProcessGroup {
    /// This process's rank, from 0.
    fn rank(&self) -> usize;
    /// Number of processes in the group.
    fn size(&self) -> usize;
    /// All-reduce: starting from zeros, every rank's `add` adds to `sum`, in rank order. All ranks end with the same numbers.
    fn add_up(&mut self, sum: &mut [f32], add: &mut dyn FnMut(&mut [f32])) -> Result<()>;
    /// All-gather: the numbers of all ranks, in rank order.
    fn gather(&mut self, mine: Vec<f64>) -> Result<Vec<f64>>;

    /// The shards of `all` that this rank computes.
    fn share(&self, all: usize) -> Range<usize> {
        let each = all / self.size();
        self.rank() * each..(self.rank() + 1) * each
    }
}

/// A process by itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl ProcessGroup for Alone {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        1
    }
    fn add_up(&mut self, sum: &mut [f32], add: &mut dyn FnMut(&mut [f32])) -> Result<()> {
        sum.fill(0.0);
        add(sum);
        Ok(())
    }
    fn gather(&mut self, mine: Vec<f64>) -> Result<Vec<f64>> {
        Ok(mine)
    }
}

/// Two pipes to another rank on the same machine.
pub struct Link {
    /// The other's rank.
    rank: usize,
    to: Box<dyn Write + Send>,
    from: Box<dyn Read + Send>,
}

impl Link {
    /// To rank `rank`.
    pub fn new(rank: usize, to: impl Write + Send + 'static, from: impl Read + Send + 'static) -> Link {
        Link { rank, to: Box::new(to), from: Box::new(from) }
    }

    /// Sends numbers, in this machine's order of bytes.
    pub fn send<T: bytemuck::NoUninit>(&mut self, numbers: &[T]) -> Result<()> {
        let sent = self.to.write_all(bytemuck::cast_slice(numbers)).and_then(|()| self.to.flush());
        sent.map_err(|error| Error::Rank { rank: self.rank, error })
    }

    /// Fills `numbers` with the data received.
    pub fn receive<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(&mut self, numbers: &mut [T]) -> Result<()> {
        self.from.read_exact(bytemuck::cast_slice_mut(numbers)).map_err(|error| Error::Rank { rank: self.rank, error })
    }

    fn send_list(&mut self, list: &[f64]) -> Result<()> {
        self.send(&[list.len() as u64])?;
        self.send(list)
    }

    fn receive_list(&mut self) -> Result<Vec<f64>> {
        let mut length = [0u64];
        self.receive(&mut length)?;
        let mut list = vec![0.0; length[0] as usize];
        self.receive(&mut list)?;
        Ok(list)
    }
}

/// Rank 0: everything passes through it.
pub struct Leader {
    /// To ranks 1, 2, ...
    members: Vec<Link>,
}

impl Leader {
    /// Of the ranks behind these links, in order.
    pub fn new(members: Vec<Link>) -> Leader {
        Leader { members }
    }
}

impl ProcessGroup for Leader {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        self.members.len() + 1
    }
    fn add_up(&mut self, sum: &mut [f32], add: &mut dyn FnMut(&mut [f32])) -> Result<()> {
        sum.fill(0.0);
        add(sum);
        for member in &mut self.members {
            member.send(sum)?;
            member.receive(sum)?;
        }
        self.members.iter_mut().try_for_each(|member| member.send(sum))
    }
    fn gather(&mut self, mut all: Vec<f64>) -> Result<Vec<f64>> {
        for member in &mut self.members {
            all.extend(member.receive_list()?);
        }
        self.members.iter_mut().try_for_each(|member| member.send_list(&all))?;
        Ok(all)
    }
}

/// One of the other ranks.
pub struct Member {
    rank: usize,
    size: usize,
    leader: Link,
}

impl Member {
    /// Rank `rank` of `size`, with its link to rank 0.
    pub fn new(rank: usize, size: usize, leader: Link) -> Member {
        assert!(0 < rank && rank < size, "rank {rank} of {size}");
        Member { rank, size, leader }
    }
}

impl ProcessGroup for Member {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        self.size
    }
    fn add_up(&mut self, sum: &mut [f32], add: &mut dyn FnMut(&mut [f32])) -> Result<()> {
        self.leader.receive(sum)?;
        add(sum);
        self.leader.send(sum)?;
        self.leader.receive(sum)
    }
    fn gather(&mut self, mine: Vec<f64>) -> Result<Vec<f64>> {
        self.leader.send_list(&mine)?;
        self.leader.receive_list()
    }
}
