//! A network as a list of steps over numbered feature maps, with what is known beforehand about each: who reads it last, and whether
//! the backward pass needs it.

use crate::error::Result;
use crate::interpreter::{Interpreter, Operand};
use crate::layers::{Conv, Dense, Norm};
use crate::unet::UNet;
use ddpm_kernels::conv2d::Frame;

/// One or more convolutions of one operand, side by side.
#[derive(Clone, Debug)]
pub struct ConvNode {
    pub convs: Vec<Conv>,
    /// Feature maps that are read side by side.
    pub parts: Vec<usize>,
    pub norm: Option<(Norm, bool)>,
    pub dropout: Option<u64>,
    /// The dense layer whose result is added to every pixel.
    pub shift: Option<usize>,
    /// Feature maps that are added, side by side.
    pub plus: Vec<usize>,
    /// Whether the one feature map in `plus` may be added to in place: nobody reads it afterwards.
    pub plus_is_free: bool,
    pub out: usize,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Node {
    Conv(Box<ConvNode>),
    Attend { qkv: usize, out: usize },
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
            let (operands, plus): (&[usize], &[usize]) = match node {
                Node::Conv(conv) => (&conv.parts, &conv.plus),
                Node::Attend { qkv, .. } => (std::slice::from_ref(qkv), &[]),
            };
            for value in operands.iter().chain(plus) {
                graph.last_use[*value] = Some(at);
            }
            operands.iter().for_each(|value| graph.kept[*value] = true);
        }
        for (at, node) in graph.nodes.iter_mut().enumerate() {
            if let Node::Conv(conv) = node
                && let [plus] = conv.plus[..]
            {
                conv.plus_is_free = graph.last_use[plus] == Some(at) && !graph.kept[plus];
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

    fn conv(&mut self, convs: &[&Conv], from: Operand<usize>, shift: Option<&Option<usize>>, plus: &[usize]) -> Result<usize> {
        let first = convs[0];
        let (h, w) = first.resample.output(first.from.h, first.from.w);
        let out = self.image(Frame { h, w, c: convs.iter().map(|c| c.out).sum() });
        self.0.nodes.push(Node::Conv(Box::new(ConvNode {
            convs: convs.iter().map(|c| (*c).clone()).collect(),
            parts: from.parts.to_vec(),
            norm: from.norm.map(|(norm, silu)| (norm.clone(), silu)),
            dropout: from.dropout,
            shift: shift.map(|s| s.expect("shifts come from dense layers")),
            plus: plus.to_vec(),
            plus_is_free: false,
            out,
        })));
        Ok(out)
    }

    fn attend(&mut self, qkv: &usize) -> Result<usize> {
        let map = self.0.maps[*qkv];
        let out = self.image(Frame { c: map.c / 3, ..map });
        self.0.nodes.push(Node::Attend { qkv: *qkv, out });
        Ok(out)
    }
}
