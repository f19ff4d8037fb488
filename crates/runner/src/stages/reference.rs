//! Features of real images, kept in the store: they depend on the data set and the network, on no job.

use crate::base::data::{Dataset, Images, sha256};
use crate::base::text::file_name;
use crate::interop::features::{read_keyed, write_keyed};
use crate::metrics::features::{BATCH, FeatureNet};
use crate::metrics::reference::{FEWEST, Reference, SplitFeatures};
use crate::metrics::seen::{MOST_KEPT, Seen};
use crate::store::Store;
use crate::store::progress::{Reporter, Stage};
use anyhow::Result;

/// The reference features of a data set: read from the store if present, otherwise computed and stored. If there are too few images, the
/// reason why there are none.
pub fn load(store: Option<&Store>, data: &Dataset, net: &FeatureNet, reporter: &mut Reporter) -> Result<Result<Reference, String>> {
    let fewest = data.train.len().min(data.held_out.len());
    if fewest < FEWEST {
        return Ok(Err(format!("too few real images to compare with: expected {FEWEST} to train on and held out, got {fewest}")));
    }
    let mut split = |name: &'static str, images: &Images| -> Result<SplitFeatures> {
        let key = sha256(format!("{} {name} {}", data.info.digest, net.name).as_bytes());
        let path = store.map(|store| {
            store.root().join("features").join(format!("{}-{name}-{}.safetensors", file_name(&data.info.name, 200), &key[..8]))
        });
        if let Some(path) = path.as_ref().filter(|path| path.exists()) {
            match read_keyed(path, &key) {
                Ok(seen) => return SplitFeatures::of(name, seen),
                Err(why) => eprintln!("{}: {why:#}; the features are computed anew", path.display()),
            }
        }
        let n = images.len();
        reporter.begin();
        let tell = |done| reporter.tell(Stage::Features, done as u64, n as u64, done as u64, None);
        let seen = Seen::of(net, (n, MOST_KEPT), images.chunks(BATCH), data.info.shape, tell)?;
        if let Some(path) = path {
            write_keyed(&path, &net.name, &key, &seen)?;
        }
        SplitFeatures::of(name, seen)
    };
    Ok(Ok(Reference { train: split("training", &data.train)?, held_out: split("held-out", &data.held_out)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::data::few;
    use ddpm_model::network::ImageShape;

    /// Features stored for one data set or one network are no other's.
    #[test]
    fn stored_features_are_of_their_images_and_their_network() {
        use crate::metrics::features::FeatureSource;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let wide = |seed: u8| {
            let small = few("d", 30, seed);
            let shape = ImageShape { height: 28, width: 28, channels: 1 };
            let pixels = small.train.all().unwrap();
            let images = |n: usize, from: usize| Images::new(shape, (0..n * 784).map(|i| pixels[(from + i) % 400]).collect(), Vec::new());
            Dataset::new("d", images(12, 0), images(11, 77), Vec::new()).unwrap()
        };
        let net = |name: &str| {
            let mut own = FeatureSource::Own {}.load(ImageShape { height: 28, width: 28, channels: 1 }).unwrap().unwrap();
            own.name = name.into();
            own
        };
        let load = |data: &Dataset, net: &FeatureNet| super::load(Some(&store), data, net, &mut Reporter::silent()).unwrap().unwrap();
        let count = || std::fs::read_dir(dir.path().join("features")).unwrap().count();
        let (a, b) = (wide(3), wide(5));
        let first = load(&a, &net("one"));
        assert_eq!(count(), 2);
        assert_ne!(first.train.features.rows, first.held_out.features.rows);
        assert_ne!(load(&b, &net("one")).train.features.rows, first.train.features.rows);
        assert_eq!(count(), 4);
        load(&a, &net("two"));
        assert_eq!(count(), 6);
        // Read again, not computed: what stands in the file is what comes.
        let again = load(&a, &net("one"));
        assert_eq!((again.train.features.rows, again.held_out.features.rows), (first.train.features.rows, first.held_out.features.rows));
        assert_eq!(count(), 6);
    }
}
