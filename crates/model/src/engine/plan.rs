//! A network as a list of steps over numbered feature maps, with what is known beforehand about each: who reads it last, and whether
//! the backward pass needs it.

use crate::error::Result;
use crate::interpreter::{Interpreter, Operand};
use crate::layers::{Conv, Dense, Map, Norm};
use crate::unet::UNet;

/// One or more convolutions of one operand, side by side.
#[derive(Clone, Debug)]
pub struct ConvStep {
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
pub enum Step {
    Conv(Box<ConvStep>),
    Attend { qkv: usize, out: usize },
}

/// A recorded network.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The dense layers that make the time embedding.
    pub time: Option<[Dense; 2]>,
    /// Dense layers on the time embedding.
    pub denses: Vec<Dense>,
    pub steps: Vec<Step>,
    /// Sizes of the feature maps; number 0 is the images.
    pub maps: Vec<Map>,
    /// The step that reads a feature map last; none for the result.
    pub last_use: Vec<Option<usize>>,
    /// Whether the backward pass needs a feature map.
    pub kept: Vec<bool>,
}

struct Recorder(Plan);

impl Plan {
    /// Of a network.
    pub fn new(unet: &UNet) -> Result<Plan> {
        let images = unet.ends().0;
        let empty = Plan { time: None, denses: vec![], steps: vec![], maps: vec![images], last_use: vec![], kept: vec![] };
        let mut recorder = Recorder(empty);
        let out = unet.describe(&mut recorder, 0)?;
        let mut plan = recorder.0;
        assert_eq!(out + 1, plan.maps.len(), "the result comes last");
        plan.last_use = vec![None; plan.maps.len()];
        plan.kept = vec![false; plan.maps.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            let (operands, plus): (&[usize], &[usize]) = match step {
                Step::Conv(conv) => (&conv.parts, &conv.plus),
                Step::Attend { qkv, .. } => (std::slice::from_ref(qkv), &[]),
            };
            for value in operands.iter().chain(plus) {
                plan.last_use[*value] = Some(at);
            }
            operands.iter().for_each(|value| plan.kept[*value] = true);
        }
        for (at, step) in plan.steps.iter_mut().enumerate() {
            if let Step::Conv(conv) = step
                && let [plus] = conv.plus[..]
            {
                conv.plus_is_free = plan.last_use[plus] == Some(at) && !plan.kept[plus];
            }
        }
        Ok(plan)
    }

    /// Feature maps' numbers among `values`, with their channels.
    pub fn side_by_side<'a>(&self, values: &'a [Vec<f32>], which: &[usize]) -> Vec<(&'a [f32], usize)> {
        which.iter().map(|v| (&values[*v][..], self.maps[*v].channels)).collect()
    }

    /// Numbers in a feature map of one image.
    pub fn len(&self, value: usize) -> usize {
        let map = self.maps[value];
        map.height * map.width * map.channels
    }
}

impl Recorder {
    fn image(&mut self, map: Map) -> usize {
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
        let (height, width) = first.resize.output(first.from.height, first.from.width);
        let out = self.image(Map { height, width, channels: convs.iter().map(|c| c.out).sum() });
        self.0.steps.push(Step::Conv(Box::new(ConvStep {
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
        let out = self.image(Map { channels: map.channels / 3, ..map });
        self.0.steps.push(Step::Attend { qkv: *qkv, out });
        Ok(out)
    }
}
