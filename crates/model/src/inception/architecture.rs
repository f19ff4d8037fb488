//! InceptionV3 (Szegedy et al. 2015) as in TensorFlow's graph of 2015-12-05: the network on whose features FID is defined.
//!
//! It differs from the published network in its pooling, as pytorch-fid found: average pooling excludes the padding, and the last block
//! uses max pooling instead of average pooling.

use ddpm_kernels::conv2d::Frame;
use ddpm_kernels::pool::Pool;
use ddpm_kernels::window::Window;

/// One step on a feature map.
#[derive(Clone, Debug)]
pub enum InceptionOp {
    /// Convolution, batch normalisation and ReLU, under the name of its tensors.
    Conv(String, Window),
    /// Pooling of a feature map of this size.
    Pool(Pool, Frame),
    /// Several branches from one feature map, with their results concatenated.
    Fork(Vec<Vec<InceptionOp>>),
}

/// Width and height of the images that the network reads, and their channels.
pub const INPUT: Frame = Frame { h: 299, w: 299, c: 3 };
/// Channels of the last feature map, whose means are FID's features.
pub const FEATURES: usize = 2048;
/// Outputs of the classifier: the 1000 classes of ImageNet, and eight that are unused.
pub const LOGITS: usize = 1008;

/// A convolution in short: name, channels of the result, window, stride, padding.
type Short<'a> = (&'a str, usize, (usize, usize), usize, (usize, usize));

/// Adds steps behind each other and keeps the size of the feature map.
struct Way {
    map: Frame,
    steps: Vec<InceptionOp>,
}

impl Way {
    fn from(map: Frame) -> Way {
        Way { map, steps: Vec::new() }
    }

    fn conv(mut self, prefix: &str, (name, c_out, size, stride, pad): Short) -> Way {
        let window = Window { input: self.map, c_out, size, stride, pad };
        self.map = window.output();
        self.steps.push(InceptionOp::Conv(format!("{prefix}{name}"), window));
        self
    }

    fn pool(mut self, pool: Pool) -> Way {
        self.steps.push(InceptionOp::Pool(pool, self.map));
        self.map = pool.output(self.map);
        self
    }

    fn fork(mut self, ways: impl FnOnce(Frame) -> Vec<Way>) -> Way {
        let ways = ways(self.map);
        let (h, w) = (ways[0].map.h, ways[0].map.w);
        assert!(ways.iter().all(|way| (way.map.h, way.map.w) == (h, w)), "ways that end alike");
        self.map = Frame { h, w, c: ways.iter().map(|way| way.map.c).sum() };
        self.steps.push(InceptionOp::Fork(ways.into_iter().map(|way| way.steps).collect()));
        self
    }
}

const ONE: (usize, usize) = (1, 1);
const THREE: (usize, usize) = (3, 3);
const NONE: (usize, usize) = (0, 0);
const WIDE: (usize, usize) = (1, 7);
const TALL: (usize, usize) = (7, 1);

/// The whole network up to the last feature map, 8x8 with [`FEATURES`] channels.
pub fn steps() -> Vec<InceptionOp> {
    let way = Way::from(INPUT)
        .conv("", ("Conv2d_1a_3x3", 32, THREE, 2, NONE))
        .conv("", ("Conv2d_2a_3x3", 32, THREE, 1, NONE))
        .conv("", ("Conv2d_2b_3x3", 64, THREE, 1, ONE))
        .pool(Pool::MaxHalve)
        .conv("", ("Conv2d_3b_1x1", 80, ONE, 1, NONE))
        .conv("", ("Conv2d_4a_3x3", 192, THREE, 1, NONE))
        .pool(Pool::MaxHalve);
    let way = [("Mixed_5b.", 32), ("Mixed_5c.", 64), ("Mixed_5d.", 64)].into_iter().fold(way, |way, (name, pooled)| a(way, name, pooled));
    let way = b(way, "Mixed_6a.");
    let narrow = [("Mixed_6b.", 128), ("Mixed_6c.", 160), ("Mixed_6d.", 160), ("Mixed_6e.", 192)];
    let way = narrow.into_iter().fold(way, |way, (name, narrow)| c(way, name, narrow));
    let way = d(way, "Mixed_7a.");
    let way = e(way, "Mixed_7b.", Pool::Average);
    let way = e(way, "Mixed_7c.", Pool::Max);
    assert_eq!(way.map, Frame { h: 8, w: 8, c: FEATURES });
    way.steps
}

fn a(way: Way, p: &str, pooled: usize) -> Way {
    way.fork(|map| {
        vec![
            Way::from(map).conv(p, ("branch1x1", 64, ONE, 1, NONE)),
            Way::from(map).conv(p, ("branch5x5_1", 48, ONE, 1, NONE)).conv(p, ("branch5x5_2", 64, (5, 5), 1, (2, 2))),
            Way::from(map)
                .conv(p, ("branch3x3dbl_1", 64, ONE, 1, NONE))
                .conv(p, ("branch3x3dbl_2", 96, THREE, 1, ONE))
                .conv(p, ("branch3x3dbl_3", 96, THREE, 1, ONE)),
            Way::from(map).pool(Pool::Average).conv(p, ("branch_pool", pooled, ONE, 1, NONE)),
        ]
    })
}

fn b(way: Way, p: &str) -> Way {
    way.fork(|map| {
        vec![
            Way::from(map).conv(p, ("branch3x3", 384, THREE, 2, NONE)),
            Way::from(map)
                .conv(p, ("branch3x3dbl_1", 64, ONE, 1, NONE))
                .conv(p, ("branch3x3dbl_2", 96, THREE, 1, ONE))
                .conv(p, ("branch3x3dbl_3", 96, THREE, 2, NONE)),
            Way::from(map).pool(Pool::MaxHalve),
        ]
    })
}

fn c(way: Way, p: &str, narrow: usize) -> Way {
    let (wide, tall) = ((0, 3), (3, 0));
    way.fork(|map| {
        vec![
            Way::from(map).conv(p, ("branch1x1", 192, ONE, 1, NONE)),
            Way::from(map)
                .conv(p, ("branch7x7_1", narrow, ONE, 1, NONE))
                .conv(p, ("branch7x7_2", narrow, WIDE, 1, wide))
                .conv(p, ("branch7x7_3", 192, TALL, 1, tall)),
            Way::from(map)
                .conv(p, ("branch7x7dbl_1", narrow, ONE, 1, NONE))
                .conv(p, ("branch7x7dbl_2", narrow, TALL, 1, tall))
                .conv(p, ("branch7x7dbl_3", narrow, WIDE, 1, wide))
                .conv(p, ("branch7x7dbl_4", narrow, TALL, 1, tall))
                .conv(p, ("branch7x7dbl_5", 192, WIDE, 1, wide)),
            Way::from(map).pool(Pool::Average).conv(p, ("branch_pool", 192, ONE, 1, NONE)),
        ]
    })
}

fn d(way: Way, p: &str) -> Way {
    way.fork(|map| {
        vec![
            Way::from(map).conv(p, ("branch3x3_1", 192, ONE, 1, NONE)).conv(p, ("branch3x3_2", 320, THREE, 2, NONE)),
            Way::from(map)
                .conv(p, ("branch7x7x3_1", 192, ONE, 1, NONE))
                .conv(p, ("branch7x7x3_2", 192, WIDE, 1, (0, 3)))
                .conv(p, ("branch7x7x3_3", 192, TALL, 1, (3, 0)))
                .conv(p, ("branch7x7x3_4", 192, THREE, 2, NONE)),
            Way::from(map).pool(Pool::MaxHalve),
        ]
    })
}

fn e(way: Way, p: &str, pool: Pool) -> Way {
    let split = |way: Way, wide: &str, tall: &str| {
        let (wide, tall) = ((wide, 384, (1, 3), 1, (0, 1)), (tall, 384, (3, 1), 1, (1, 0)));
        way.fork(|map| vec![Way::from(map).conv(p, wide), Way::from(map).conv(p, tall)])
    };
    way.fork(|map| {
        let doubled = Way::from(map).conv(p, ("branch3x3dbl_1", 448, ONE, 1, NONE)).conv(p, ("branch3x3dbl_2", 384, THREE, 1, ONE));
        vec![
            Way::from(map).conv(p, ("branch1x1", 320, ONE, 1, NONE)),
            split(Way::from(map).conv(p, ("branch3x3_1", 384, ONE, 1, NONE)), "branch3x3_2a", "branch3x3_2b"),
            split(doubled, "branch3x3dbl_3a", "branch3x3dbl_3b"),
            Way::from(map).pool(pool).conv(p, ("branch_pool", 192, ONE, 1, NONE)),
        ]
    })
}
