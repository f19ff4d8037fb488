//! Images in the order in which a training sees them, read and decoded ahead of its steps by threads of their own.

use super::images::Images;
use anyhow::{Context, Result};
use ddpm_kernels::random::{Order, Random, Stream};
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most threads that read ahead: a machine with more cores has other work for them.
const MOST_THREADS: usize = 8;

/// Portions that lie ready while another one is read: enough for a disk that pauses now and then.
const READY: usize = 2;

/// Which places of a training's images are read together, in the endless sequence of its shuffled epochs. Portion i is the `len` places from
/// `first + i * every` on, as far as they are below `end`.
#[derive(Clone, Copy, Debug)]
pub struct Portions {
    /// From the beginning of one portion to that of the next.
    pub every: u64,
    /// Where the first one begins.
    pub first: u64,
    /// Places in each.
    pub len: u64,
    /// Where the training ends.
    pub end: u64,
}

impl Portions {
    fn places(&self, portion: u64) -> Range<u64> {
        let from = self.first + portion * self.every;
        from.min(self.end)..(from + self.len).min(self.end)
    }
}

/// The endless sequence of shuffled epochs.
struct Sequence {
    random: Random,
    images: usize,
    /// The orders of the last two epochs that were asked for.
    orders: Vec<(u64, Order)>,
}

impl Sequence {
    fn new(seed: u64, images: usize) -> Sequence {
        Sequence { random: Random::new(seed, Stream::Shuffle), images, orders: Vec::new() }
    }

    /// The image at a place.
    fn image(&mut self, place: u64) -> usize {
        let (epoch, i) = (place / self.images as u64, (place % self.images as u64) as usize);
        if !self.orders.iter().any(|(e, _)| *e == epoch) {
            self.orders.truncate(1);
            self.orders.insert(0, (epoch, Order::new(&self.random, epoch, self.images)));
        }
        self.orders.iter().find(|(e, _)| *e == epoch).expect("just made").1.at(i)
    }
}

/// The images of a training, portion by portion. What a portion holds depends on the seed and its number alone: not on the number of threads,
/// nor on where reading began.
pub struct Loader {
    images: Images,
    seed: u64,
    portions: Portions,
    /// For images in memory, which are copied when they are asked for.
    sequence: Sequence,
    ahead: Option<Ahead>,
    waited: Duration,
}

/// The thread that reads ahead.
struct Ahead {
    /// The portion that comes next.
    next: u64,
    /// Absent only while it is dropped.
    ready: Option<Receiver<Result<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // It ends when nobody listens, after the portion that it is at. If it has panicked, that has been told.
        self.ready = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Loader {
    /// Of `images`, at least one, in the orders that `seed` decides. Reading begins when the first portion is asked for.
    pub fn new(images: &Images, seed: u64, portions: Portions) -> Loader {
        let sequence = Sequence::new(seed, images.len());
        Loader { images: images.clone(), seed, portions, sequence, ahead: None, waited: Duration::ZERO }
    }

    /// The pixels of a portion, image after image. The next ones are read meanwhile; any portion but the next one begins anew.
    pub fn portion(&mut self, number: u64) -> Result<Vec<u8>> {
        let begun = Instant::now();
        let pixels = match self.images.is_in_memory() {
            true => self.copied(number),
            false => {
                let next = self.ahead(number)?.recv();
                self.taken(next)
            }
        };
        self.waited += begun.elapsed();
        pixels
    }

    /// The same where it is ready, which nobody waits for; none where it is not.
    pub fn ready(&mut self, number: u64) -> Result<Option<Vec<u8>>> {
        if self.images.is_in_memory() {
            return self.copied(number).map(Some);
        }
        match self.ahead(number)?.try_recv() {
            Err(TryRecvError::Empty) => Ok(None),
            Ok(pixels) => self.taken(Ok(pixels)).map(Some),
            Err(TryRecvError::Disconnected) => self.taken(Err(RecvError)).map(Some),
        }
    }

    fn copied(&mut self, number: u64) -> Result<Vec<u8>> {
        read(&self.images, &mut self.sequence, self.portions.places(number))
    }

    /// How long all portions together have been waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// How many threads read ahead.
    pub fn threads() -> usize {
        rayon::current_num_threads().min(MOST_THREADS)
    }

    /// Where this portion comes next.
    fn ahead(&mut self, number: u64) -> Result<&Receiver<Result<Vec<u8>>>> {
        if self.ahead.as_ref().is_none_or(|ahead| ahead.next != number) {
            self.ahead = None;
            self.ahead = Some(self.begin(number)?);
        }
        let ahead = self.ahead.as_ref().expect("just begun");
        Ok(ahead.ready.as_ref().expect("until it is dropped"))
    }

    /// What has come from there.
    fn taken(&mut self, next: Result<Result<Vec<u8>>, RecvError>) -> Result<Vec<u8>> {
        let ahead = self.ahead.as_mut().expect("something came from it");
        match next {
            Ok(Ok(pixels)) => {
                ahead.next += 1;
                Ok(pixels)
            }
            Ok(Err(error)) => {
                self.ahead = None;
                Err(error)
            }
            // It has ended: there are no more, or it has failed.
            Err(RecvError) => match ahead.thread.take().map(JoinHandle::join) {
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                _ => Ok(Vec::new()),
            },
        }
    }

    fn begin(&self, first: u64) -> Result<Ahead> {
        let named = |i| format!("loader-{i}");
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(Loader::threads())
            .thread_name(named)
            .build()
            .context("threads that read images")?;
        let (made, ready) = sync_channel(READY);
        let (images, portions, mut sequence) = (self.images.clone(), self.portions, Sequence::new(self.seed, self.images.len()));
        let run = move || {
            for number in first.. {
                let places = portions.places(number);
                if places.is_empty() {
                    return;
                }
                let pixels = pool.install(|| read(&images, &mut sequence, places));
                let failed = pixels.is_err();
                if made.send(pixels).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("loader".into()).spawn(run).context("a thread that reads images")?;
        Ok(Ahead { next: first, ready: Some(ready), thread: Some(thread) })
    }
}

fn read(images: &Images, sequence: &mut Sequence, places: Range<u64>) -> Result<Vec<u8>> {
    let indices: Vec<usize> = places.map(|place| sequence.image(place)).collect();
    let mut pixels = vec![0; indices.len() * images.shape.len()];
    images.read(&indices, &mut pixels)?;
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::super::{Cache, DataSource, Files, Form};
    use super::*;

    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    /// `n` images of a grey each, kept in each of the three ways.
    fn kept(dir: &Path, n: usize) -> [Images; 3] {
        let folder = dir.join("images");
        fs::create_dir_all(&folder).unwrap();
        for i in 0..n {
            image::GrayImage::from_pixel(4, 4, image::Luma([i as u8])).save(folder.join(format!("{i:03}.png"))).unwrap();
        }
        let of = |cache: Cache| DataSource::Folder(Files::all(&folder)).load(&cache).unwrap().train;
        let every = |form: Form| of(Cache::at(&dir.join(form.name())).every(Some(form)));
        [of(Cache::none()), every(Form::Bytes), every(Form::Compressed)]
    }

    /// What is read in a portion: each image by its grey.
    fn greys(loader: &mut Loader, number: u64) -> Vec<u8> {
        let pixels = loader.portion(number).unwrap();
        assert!(pixels.chunks(16).all(|image| image.iter().all(|byte| *byte == image[0])));
        pixels.chunks(16).map(|image| image[0]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        /// Portions are those places of the shuffled epochs, however the images are kept, with any number of threads, from any portion on.
        #[test]
        fn portions_are_places_of_the_epochs(
            n in 1usize..40, seed: u64, threads in 1usize..4, start in 0u64..6,
            (every, first, len) in (1u64..30, 0u64..10, 1u64..20), end in 0u64..150,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let portions = Portions { every, first, len, end };
            let places = |number: u64| (0..len).map(move |i| first + number * every + i).filter(|place| *place < end);
            let order = |place: u64| Random::new(seed, Stream::Shuffle).permutation(place / n as u64, n)[place as usize % n] as u8;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for images in kept(dir.path(), n) {
                let mut loader = Loader::new(&images, seed, portions);
                let numbers: Vec<u64> = (start..start + 5).chain([2, 3]).collect();
                for number in numbers {
                    let found = pool.install(|| greys(&mut loader, number));
                    prop_assert_eq!(found, places(number).map(order).collect::<Vec<u8>>(), "portion {} as {}", number, images.form());
                }
            }
        }
    }

    /// While a step is made, the next portions are read: they are there although the file is gone by then. What cannot be read is an error each
    /// time, and nothing hangs.
    #[test]
    fn portions_are_read_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let [_, bytes, compressed] = kept(dir.path(), 30);
        for images in [bytes, compressed] {
            let mut loader = Loader::new(&images, 1, Portions { every: 10, first: 0, len: 10, end: 100 });
            let first = greys(&mut loader, 0);
            std::thread::sleep(Duration::from_secs(1));
            let waited = loader.waited();
            let second = loader.ready(1).unwrap().expect("read by now");
            assert_eq!(loader.waited(), waited);
            let set = fs::read_dir(dir.path().join(images.form())).unwrap().next().unwrap().unwrap().path();
            fs::File::options().write(true).open(set.join("images")).unwrap().set_len(0).unwrap();
            let second = second.chunks(16).map(|image| image[0]).collect();
            let epoch: Vec<u8> = [first, second, greys(&mut loader, 2)].concat();
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..30).collect::<Vec<u8>>());
            assert!(loader.waited() > Duration::ZERO);
            let mut errors = (3..9).filter_map(|number| loader.portion(number).err());
            assert!(format!("{:#}", errors.next().unwrap()).contains("images: cannot be read at byte"));
            assert!(errors.next().is_some());
        }
    }
}
