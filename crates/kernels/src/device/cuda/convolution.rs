//! Convolutions by cuDNN, channels last. For each, all algorithms that give the same bits every time are timed once, and the fastest is kept,
//! from run to run where there is a file for it.

use super::wrong;
use crate::device::{Convolution, Pass, Sizes, Span, Type};
use candle_core::cuda_backend::cudarc;
use candle_core::{Result, bail};
use cudarc::cudnn::{result, sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Arc;

/// Room that an algorithm may ask for.
const ROOM: usize = 256 << 20;

/// Algorithms of a pass that are asked for their time.
const ASKED: usize = 10;

/// The first line of the file of chosen algorithms.
const FILE: &str = "cuDNN algorithms 1";

/// What an algorithm was chosen for.
type Key = (Pass, Sizes, Type, bool);

/// An algorithm by its number, the mathematics that it was timed with, and the room that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chosen {
    algorithm: u32,
    math: u32,
    room: usize,
}

/// cuDNN on one stream.
pub struct Convolutions {
    stream: Arc<CudaStream>,
    handle: sys::cudnnHandle_t,
    gpu: String,
    descriptors: HashMap<(Sizes, Type, bool), Descriptors>,
    chosen: HashMap<Key, Chosen>,
    cache: Option<PathBuf>,
    room: Option<CudaSlice<u8>>,
}

/// What cuDNN calls the parts of a convolution.
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
}

fn kind(kind: Type) -> sys::cudnnDataType_t {
    match kind {
        Type::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        Type::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    }
}

/// How factors are multiplied: f32 exactly unless TF32 was asked for.
fn math(kind: Type, tf32: bool) -> sys::cudnnMathType_t {
    match (kind, tf32) {
        (Type::F32, false) => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        (Type::F32, true) => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
        (Type::Bf16, _) => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}

fn math_of(number: u32) -> Option<sys::cudnnMathType_t> {
    use sys::cudnnMathType_t as M;
    [M::CUDNN_DEFAULT_MATH, M::CUDNN_TENSOR_OP_MATH, M::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION, M::CUDNN_FMA_MATH]
        .into_iter()
        .find(|m| *m as u32 == number)
}

impl Descriptors {
    fn new(s: Sizes, t: Type, tf32: bool) -> std::result::Result<Descriptors, result::CudnnError> {
        let nhwc = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let (h, w) = s.output();
        let int = |v: [usize; 4]| v.map(|n| n as i32);
        let d = Descriptors {
            x: result::create_tensor_descriptor()?,
            w: result::create_filter_descriptor()?,
            y: result::create_tensor_descriptor()?,
            conv: result::create_convolution_descriptor()?,
        };
        // Safety: descriptors that were just made.
        unsafe {
            result::set_tensor4d_descriptor(d.x, nhwc, kind(t), int([s.batch, s.c_in, s.h, s.w]))?;
            result::set_filter4d_descriptor(d.w, kind(t), nhwc, int([s.c_out, s.c_in, s.k, s.k]))?;
            result::set_tensor4d_descriptor(d.y, nhwc, kind(t), int([s.batch, s.c_out, h, w]))?;
            let (pad, stride) = (s.pad as i32, s.stride as i32);
            let (mode, float) = (sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
            result::set_convolution2d_descriptor(d.conv, pad, pad, stride, stride, 1, 1, mode, float)?;
            result::set_convolution_math_type(d.conv, math(t, tf32))?;
        }
        Ok(d)
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // Safety: each was made with its like and is destroyed once; there is nothing to do about a failure.
        unsafe {
            let _ = result::destroy_tensor_descriptor(self.x);
            let _ = result::destroy_filter_descriptor(self.w);
            let _ = result::destroy_tensor_descriptor(self.y);
            let _ = result::destroy_convolution_descriptor(self.conv);
        }
    }
}

impl Drop for Convolutions {
    fn drop(&mut self) {
        self.descriptors.clear();
        // Safety: made by `new`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

fn pointer(base: u64, span: Span) -> *mut c_void {
    (base + span.at as u64) as *mut c_void
}

macro_rules! timed {
    ($find:path, $perf:ident, $handle:expr, $($argument:expr),*; $room:expr) => {{
        // Safety: plain numbers, for which all bits 0 are values.
        let mut found: [sys::$perf; ASKED] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // Safety: descriptors and handle are alive, places are in the arena (see `check`), the room is as long as is said.
        let status = unsafe { $find($handle, $($argument,)* ASKED as i32, &mut count, found.as_mut_ptr(), $room.0, $room.1) };
        status.result().map_err(wrong("cuDNN"))?;
        let good = found[..count.max(0) as usize].iter().filter(|p| p.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS);
        let mut sure = good.filter(|p| p.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC && p.memory <= $room.1);
        sure.next().map(|p| Chosen { algorithm: p.algo as u32, math: p.mathType as u32, room: p.memory })
    }};
}

impl Convolutions {
    /// On a stream of the GPU called `gpu`.
    pub fn new(stream: &Arc<CudaStream>, gpu: String, cache: Option<PathBuf>) -> Result<Convolutions> {
        let handle = result::create_handle().map_err(wrong("cuDNN"))?;
        let none =
            Convolutions { stream: stream.clone(), handle, gpu, descriptors: HashMap::new(), chosen: HashMap::new(), cache, room: None };
        // Safety: the handle was just made, and the stream lives as long as this.
        unsafe { result::set_stream(handle, stream.cu_stream() as *mut _) }.map_err(wrong("cuDNN"))?;
        Ok(none)
    }

    /// The GPU's name.
    pub fn gpu(&self) -> &str {
        &self.gpu
    }

    /// Bytes that the chosen algorithms work in.
    pub fn room(&self) -> usize {
        self.room.as_ref().map_or(0, CudaSlice::len)
    }

    /// Chooses an algorithm for each convolution that has none yet. Overwrites what they write.
    pub fn choose(&mut self, all: &[Convolution], base: u64) -> Result<()> {
        let key = |c: &Convolution| (c.pass, c.sizes, c.kind, c.tf32);
        if self.chosen.is_empty() {
            self.read();
        }
        let before = self.chosen.len();
        let mut room = None;
        for c in all {
            if self.chosen.contains_key(&key(c)) {
                continue;
            }
            if room.is_none() {
                room = Some(self.stream.alloc_zeros::<u8>(ROOM).map_err(wrong("memory for cuDNN"))?);
            }
            let room = room.as_ref().expect("just made").device_ptr(&self.stream).0 as *mut c_void;
            let chosen = self.time(c, base, (room, ROOM))?;
            self.chosen.insert(key(c), chosen);
        }
        let needed = all.iter().map(|c| self.chosen[&key(c)].room).max().unwrap_or(0);
        drop(room);
        if needed > self.room.as_ref().map_or(0, CudaSlice::len) {
            self.room = Some(self.stream.alloc_zeros::<u8>(needed).map_err(wrong("memory for cuDNN"))?);
        }
        if self.chosen.len() > before {
            self.write();
        }
        Ok(())
    }

    fn descriptors(&mut self, c: &Convolution) -> Result<&Descriptors> {
        match self.descriptors.entry((c.sizes, c.kind, c.tf32)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Descriptors::new(c.sizes, c.kind, c.tf32).map_err(wrong("cuDNN"))?)),
        }
    }

    /// The fastest algorithm that gives the same bits every time.
    fn time(&mut self, c: &Convolution, base: u64, room: (*mut c_void, usize)) -> Result<Chosen> {
        let handle = self.handle;
        let d = self.descriptors(c)?;
        let [x, w, y] = [c.x, c.w, c.y].map(|span| pointer(base, span));
        let found = match c.pass {
            Pass::Forward => timed!(
                sys::cudnnFindConvolutionForwardAlgorithmEx, cudnnConvolutionFwdAlgoPerf_t, handle, d.x, x, d.w, w, d.conv, d.y, y; room
            ),
            Pass::InputGradient => timed!(
                sys::cudnnFindConvolutionBackwardDataAlgorithmEx, cudnnConvolutionBwdDataAlgoPerf_t, handle, d.w, w, d.y, y, d.conv, d.x, x; room
            ),
            Pass::WeightGradient => timed!(
                sys::cudnnFindConvolutionBackwardFilterAlgorithmEx, cudnnConvolutionBwdFilterAlgoPerf_t, handle, d.x, x, d.y, y, d.conv, d.w, w; room
            ),
        };
        match found {
            Some(chosen) => Ok(chosen),
            None => bail!("cuDNN has no algorithm that gives the same bits every time for {c:?}"),
        }
    }

    /// One convolution with the algorithm that was chosen for it.
    pub fn run(&mut self, c: &Convolution, base: u64) -> Result<()> {
        let chosen = self.chosen[&(c.pass, c.sizes, c.kind, c.tf32)];
        let handle = self.handle;
        let room = self.room.as_ref().map_or(std::ptr::null_mut(), |room| room.device_ptr(&self.stream).0 as *mut c_void);
        let Some(math) = math_of(chosen.math) else { bail!("cuDNN's mathematics number {} is unknown", chosen.math) };
        let d = self.descriptors(c)?;
        let [x, w, y] = [c.x, c.w, c.y].map(|span| pointer(base, span));
        let (one, beta) = (1f32, if c.add { 1f32 } else { 0.0 });
        let (one, beta): (*const c_void, *const c_void) = ((&raw const one).cast(), (&raw const beta).cast());
        // Safety: descriptors and handle are alive; [`super::check`] saw that the places are as long as the sizes say and in the arena; the
        // room is as long as the algorithm asked for. The algorithm's number came from cuDNN itself or was compared with its list.
        unsafe {
            result::set_convolution_math_type(d.conv, math).map_err(wrong("cuDNN"))?;
            match c.pass {
                Pass::Forward => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionFwdAlgo_t>(chosen.algorithm);
                    result::convolution_forward(handle, one, d.x, x, d.w, w, d.conv, algorithm, room, chosen.room, beta, d.y, y)
                }
                Pass::InputGradient => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionBwdDataAlgo_t>(chosen.algorithm);
                    result::convolution_backward_data(handle, one, d.w, w, d.y, y, d.conv, algorithm, room, chosen.room, beta, d.x, x)
                }
                Pass::WeightGradient => {
                    let algorithm = std::mem::transmute::<u32, sys::cudnnConvolutionBwdFilterAlgo_t>(chosen.algorithm);
                    result::convolution_backward_filter(handle, one, d.x, x, d.y, y, d.conv, algorithm, room, chosen.room, beta, d.w, w)
                }
            }
        }
        .map_err(wrong("cuDNN"))
    }

    /// What the file's algorithms hold for: another GPU or library may have other numbers.
    fn heading(&self) -> String {
        format!("{FILE}; {}; cuDNN {}", self.gpu, result::get_version())
    }

    /// Reads the file; one of another GPU, library or program is passed over.
    fn read(&mut self) {
        let Some(text) = self.cache.as_ref().and_then(|path| std::fs::read_to_string(path).ok()) else { return };
        let mut lines = text.lines();
        if lines.next() == Some(&self.heading()) {
            self.chosen = lines.filter_map(line).collect();
        }
    }

    /// Writes the file. That it cannot be written costs the next run some seconds, and no more.
    fn write(&self) {
        let Some(path) = &self.cache else { return };
        let mut lines: Vec<String> = self.chosen.iter().map(|(key, chosen)| text(key, *chosen)).collect();
        lines.sort_unstable();
        let beside = path.with_extension(format!("{}.part", std::process::id()));
        let written = std::fs::write(&beside, format!("{}\n{}\n", self.heading(), lines.join("\n")));
        let _ = written.and_then(|()| std::fs::rename(&beside, path));
    }
}

fn text((pass, s, kind, tf32): &Key, chosen: Chosen) -> String {
    let pass = match pass {
        Pass::Forward => 0,
        Pass::InputGradient => 1,
        Pass::WeightGradient => 2,
    };
    let numbers = [pass, s.batch, s.h, s.w, s.c_in, s.c_out, s.k, s.stride, s.pad, kind.size(), *tf32 as usize];
    let chosen = [chosen.algorithm as usize, chosen.math as usize, chosen.room];
    numbers.iter().chain(&chosen).map(usize::to_string).collect::<Vec<_>>().join(" ")
}

/// A line of the file; none where its numbers are none that this program writes.
fn line(line: &str) -> Option<(Key, Chosen)> {
    let numbers = line.split(' ').map(|word| word.parse().ok()).collect::<Option<Vec<usize>>>()?;
    let [pass, batch, h, w, c_in, c_out, k, stride, pad, size, tf32, algorithm, math, room] = numbers[..] else { return None };
    let (pass, algorithms) = match pass {
        0 => (Pass::Forward, sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_COUNT as usize),
        1 => (Pass::InputGradient, sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT as usize),
        2 => (Pass::WeightGradient, sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT as usize),
        _ => return None,
    };
    let kind = if size == 2 { Type::Bf16 } else { Type::F32 };
    let good = algorithm < algorithms && math_of(math as u32).is_some() && room <= ROOM;
    let chosen = Chosen { algorithm: algorithm as u32, math: math as u32, room };
    good.then_some(((pass, Sizes { batch, h, w, c_in, c_out, k, stride, pad }, kind, tf32 == 1), chosen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_read_as_they_were_written(s in prop::array::uniform8(1usize..600), pass in 0usize..3, tf32: bool, bf16: bool, algorithm in 0u32..6, math in 0u32..4, room in 0usize..ROOM) {
            let sizes = Sizes { batch: s[0], h: s[1], w: s[2], c_in: s[3], c_out: s[4], k: s[5], stride: s[6], pad: s[7] };
            let pass = [Pass::Forward, Pass::InputGradient, Pass::WeightGradient][pass];
            let (key, chosen) = ((pass, sizes, if bf16 { Type::Bf16 } else { Type::F32 }, tf32), Chosen { algorithm, math, room });
            prop_assert_eq!(line(&text(&key, chosen)), Some((key, chosen)));
        }

        #[test]
        fn other_lines_are_passed_over(text in "[0-9 a-z.-]{0,60}") {
            if let Some((_, chosen)) = line(&text) {
                prop_assert!(chosen.algorithm < 8 && chosen.room <= ROOM);
            }
        }
    }
}
