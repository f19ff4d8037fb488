use crate::common::*;
use ddpm_kernels::random::Stream;
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::parameters::{Init, Parameter};
use ddpm_model::process_group::{Alone, Leader, Link, Member, ProcessGroup};
use proptest::prelude::*;
use std::io::pipe;

/// Links between rank 0 and the others, over pipes as between processes.
fn group(size: usize) -> (Leader, Vec<Member>) {
    let (mut links, mut members) = (Vec::new(), Vec::new());
    for rank in 1..size {
        let ((from_leader, to_member), (from_member, to_leader)) = (pipe().unwrap(), pipe().unwrap());
        links.push(Link::new(rank, to_member, from_member));
        members.push(Member::new(rank, size, Link::new(0, to_leader, from_leader)));
    }
    (Leader::new(links), members)
}

/// Adds the rank's shards, one after the other, and gathers their places.
fn work(group: &mut dyn ProcessGroup, shards: &[Vec<f32>]) -> (Vec<u32>, Vec<f64>) {
    let mut sum = vec![f32::NAN; shards[0].len()];
    let mine = group.share(shards.len());
    group.add_up(&mut sum, &mut |sum| shards[mine.clone()].iter().for_each(|g| sum.iter_mut().zip(g).for_each(|(s, g)| *s += g))).unwrap();
    let places = group.gather(mine.map(|shard| shard as f64).collect()).unwrap();
    (sum.into_iter().map(f32::to_bits).collect(), places)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Every rank ends with the bits of one process that adds all shards by itself, whatever their magnitudes.
    #[test]
    fn the_sum_has_the_bits_of_one_process(size in 1usize..5, each in 1usize..4, numbers in prop::collection::vec(-1e30f32..1e30, 12 * 7)) {
        let shards: Vec<Vec<f32>> = numbers.chunks(7).take(size * each).map(|g| g.iter().enumerate().map(|(i, v)| v * 1e-5f32.powi(i as i32)).collect()).collect();
        let expected = work(&mut Alone, &shards);
        let (mut leader, members) = group(size);
        let found: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = members.into_iter().map(|mut m| { let shards = &shards; scope.spawn(move || work(&mut m, shards)) }).collect();
            let first = work(&mut leader, &shards);
            std::iter::once(first).chain(others.into_iter().map(|t| t.join().unwrap())).collect()
        });
        for result in found {
            prop_assert_eq!(&result, &expected);
        }
    }
}

#[test]
fn a_rank_that_is_gone_is_named() {
    let (mut leader, members) = group(2);
    drop(members);
    let error = leader.add_up(&mut [0.0; 4], &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("rank 1"), "{error}");
}

/// Several shards on each of several ranks: the step of one process, bit for bit.
#[test]
fn ranks_with_several_shards_make_the_step_of_one_process() {
    let parameters = [Parameter { name: "a".into(), shape: vec![5], init: Init::Uniform { limit: 1.0 } }];
    let optimiser = Optimiser { clip_shards: 6, warmup_steps: 0, ..optimiser() };
    let train = |group: &mut dyn ProcessGroup| {
        let mut training = Training::new(&parameters, optimiser.clone(), 5, Stream::Init);
        let mut norms = Vec::new();
        for step in 0..3 {
            let gradient = |w: &[f32], shard: usize, out: &mut [f32]| {
                out.iter_mut()
                    .enumerate()
                    .for_each(|(i, g)| *g = w[i] * (shard + 1) as f32 + ((shard * 5 + i) * 7 % 11) as f32 - step as f32);
                Ok(())
            };
            norms.push(training.update_in(group, gradient).unwrap().to_bits());
        }
        (training.state().rows().iter().map(|row| row.iter().map(|v| v.to_bits()).collect::<Vec<u32>>()).collect::<Vec<_>>(), norms)
    };
    let expected = train(&mut Alone);
    for size in [2, 3] {
        let (mut leader, members) = group(size);
        let found: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = members.into_iter().map(|mut m| scope.spawn(move || train(&mut m))).collect();
            let first = train(&mut leader);
            std::iter::once(first).chain(others.into_iter().map(|t| t.join().unwrap())).collect()
        });
        assert!(found.iter().all(|found| *found == expected), "{size} ranks");
    }
}
