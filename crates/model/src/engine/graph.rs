//! A network as a list of steps over numbered feature maps, with what is known beforehand about each: who reads it last, and whether
//! the backward pass needs it.

use crate::error::Result;
use crate::interpreter::{ConvCall, Interpreter, Normalise};
use crate::layers::{Conv, Dense, Norm};
use crate::unet::UNet;
use ddpm_kernels::conv2d::Frame;
use ddpm_kernels::pool::BlockPool;

/// One or more convolutions of one operand, with their results concatenated.
#[derive(Clone, Debug)]
pub struct ConvNode {
    pub convs: Vec<Conv>,
    /// Feature maps that are concatenated to form the input.
    pub parts: Vec<usize>,
    /// A normalisation before the convolutions, and whether SiLU follows it.
    pub norm: Option<(Norm, bool)>,
    pub dropout: Option<u64>,
    /// The dense layer whose result is added to every pixel.
    pub shift: Option<usize>,
    /// Feature maps that are concatenated and added to the result.
    pub residual: Vec<usize>,
    /// Whether the one feature map in `residual` may be accumulated into in place: it is not read afterwards.
    pub residual_is_free: bool,
    pub out: usize,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Node {
    Conv(Box<ConvNode>),
    Attend { qkv: usize, out: usize },
    Pool { kind: BlockPool, from: usize, out: usize },
}

/// A recorded network.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The dense layers that make the time embedding.
    pub time: Option<[Dense; 2]>,
    /// Dense layers on the time embedding.
    pub denses: Vec<Dense>,
    pub nodes: Vec<Node>,
    /// Sizes of the feature maps; number 0 is the images.
    pub maps: Vec<Frame>,
    /// The step that reads a feature map last; none for the result.
    pub last_use: Vec<Option<usize>>,
    /// Whether the backward pass needs a feature map.
    pub kept: Vec<bool>,
}

struct Recorder(Graph);

impl Graph {
    /// Of a network.
    pub fn new(unet: &UNet) -> Result<Graph> {
        let images = unet.ends().0;
        let empty = Graph { time: None, denses: vec![], nodes: vec![], maps: vec![images], last_use: vec![], kept: vec![] };
        let mut recorder = Recorder(empty);
        let out = unet.describe(&mut recorder, 0)?;
        let mut graph = recorder.0;
        assert_eq!(out + 1, graph.maps.len(), "the result comes last");
        graph.last_use = vec![None; graph.maps.len()];
        graph.kept = vec![false; graph.maps.len()];
        for (at, node) in graph.nodes.iter().enumerate() {
            let (operands, residual): (&[usize], &[usize]) = match node {
                Node::Conv(conv) => (&conv.parts, &conv.residual),
                Node::Attend { qkv, .. } => (std::slice::from_ref(qkv), &[]),
                Node::Pool { from, .. } => (std::slice::from_ref(from), &[]),
            };
            for value in operands.iter().chain(residual) {
                graph.last_use[*value] = Some(at);
            }
            // The gradient of a mean is the same whatever was averaged.
            if !matches!(node, Node::Pool { kind: BlockPool::Average, .. }) {
                operands.iter().for_each(|value| graph.kept[*value] = true);
            }
        }
        for (at, node) in graph.nodes.iter_mut().enumerate() {
            if let Node::Conv(conv) = node
                && let [residual] = conv.residual[..]
            {
                conv.residual_is_free = graph.last_use[residual] == Some(at) && !graph.kept[residual];
            }
        }
        Ok(graph)
    }

    /// Feature maps' numbers among `values`, with their channels.
    pub fn side_by_side<'a>(&self, values: &'a [Vec<f32>], which: &[usize]) -> Vec<(&'a [f32], usize)> {
        which.iter().map(|v| (&values[*v][..], self.maps[*v].c)).collect()
    }

    /// Numbers in a feature map of one image.
    pub fn len(&self, value: usize) -> usize {
        let map = self.maps[value];
        map.h * map.w * map.c
    }
}

impl Recorder {
    fn image(&mut self, map: Frame) -> usize {
        self.0.maps.push(map);
        self.0.maps.len() - 1
    }
}

impl Interpreter for Recorder {
    type Image = usize;
    /// A dense layer's place; none for the time embedding itself.
    type Vector = Option<usize>;

    fn time(&mut self, first: &Dense, second: &Dense) -> Result<Option<usize>> {
        self.0.time = Some([first.clone(), second.clone()]);
        Ok(None)
    }

    fn dense(&mut self, dense: &Dense, x: &Option<usize>) -> Result<Option<usize>> {
        assert_eq!(*x, None, "dense layers read the time embedding");
        self.0.denses.push(dense.clone());
        Ok(Some(self.0.denses.len() - 1))
    }

    fn conv(&mut self, call: ConvCall<usize, Option<usize>>) -> Result<usize> {
        let first = call.convs[0];
        let (h, w) = first.resample.output(first.from.h, first.from.w);
        let out = self.image(Frame { h, w, c: call.convs.iter().map(|c| c.out).sum() });
        self.0.nodes.push(Node::Conv(Box::new(ConvNode {
            convs: call.convs.iter().map(|c| (*c).clone()).collect(),
            parts: call.input.to_vec(),
            norm: call.norm.map(|Normalise { norm, silu }| (norm.clone(), silu)),
            dropout: call.dropout,
            shift: call.shift.map(|s| s.expect("shifts come from dense layers")),
            residual: call.residual.to_vec(),
            residual_is_free: false,
            out,
        })));
        Ok(out)
    }

    fn pool(&mut self, kind: BlockPool, x: &usize) -> Result<usize> {
        let out = self.image(kind.output(self.0.maps[*x]));
        self.0.nodes.push(Node::Pool { kind, from: *x, out });
        Ok(out)
    }

    fn attend(&mut self, qkv: &usize) -> Result<usize> {
        let map = self.0.maps[*qkv];
        let out = self.image(Frame { c: map.c / 3, ..map });
        self.0.nodes.push(Node::Attend { qkv: *qkv, out });
        Ok(out)
    }
}
