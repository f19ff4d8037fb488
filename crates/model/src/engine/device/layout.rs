//! Where the parameters' numbers stand on a device: one after the other as on the host, each at a multiple of 16 bytes, and the weights
//! of 3x3 convolutions as `[Co, k, k, Ci]`, in whose last axis the library reads.

use crate::parameters::Parameter;
use ddpm_kernels::device::norm::PACK;

/// The places of all parameters.
#[derive(Clone, Debug)]
pub struct Layout {
    places: Vec<Place>,
    /// Numbers with those that fill gaps, which are 0.
    pub len: usize,
}

#[derive(Clone, Debug)]
struct Place {
    at: usize,
    len: usize,
    /// (taps, Ci, Co) where the axes are in another order.
    turned: Option<(usize, usize, usize)>,
}

impl Layout {
    /// Of a network's parameters.
    pub fn new(parameters: &[Parameter]) -> Layout {
        let (mut places, mut at) = (Vec::new(), 0);
        for parameter in parameters {
            let turned = match parameter.shape[..] {
                [k, l, c_in, c_out] if k * l > 1 => Some((k * l, c_in, c_out)),
                _ => None,
            };
            places.push(Place { at, len: parameter.len(), turned });
            at = (at + parameter.len()).next_multiple_of(PACK);
        }
        Layout { places, len: at }
    }

    /// The first number of a parameter, and how many it has.
    pub fn of(&self, parameter: usize) -> (usize, usize) {
        (self.places[parameter].at, self.places[parameter].len)
    }

    /// Numbers on the host, without gaps.
    pub fn host_len(&self) -> usize {
        self.places.iter().map(|place| place.len).sum()
    }

    /// The device's numbers from the host's.
    pub fn to_device(&self, host: &[f32]) -> Vec<f32> {
        let (mut device, mut rest) = (vec![0f32; self.len], host);
        for place in &self.places {
            let (now, later) = rest.split_at(place.len);
            let to = &mut device[place.at..place.at + place.len];
            match place.turned {
                None => to.copy_from_slice(now),
                Some((taps, c_in, c_out)) => transpose(now, taps * c_in, c_out, to),
            }
            rest = later;
        }
        device
    }

    /// The host's numbers from the device's.
    pub fn to_host(&self, device: &[f32], host: &mut [f32]) {
        let mut rest = host;
        for place in &self.places {
            let (now, later) = rest.split_at_mut(place.len);
            let from = &device[place.at..place.at + place.len];
            match place.turned {
                None => now.copy_from_slice(from),
                Some((taps, c_in, c_out)) => transpose(from, c_out, taps * c_in, now),
            }
            rest = later;
        }
    }
}

/// \[rows, columns\] to \[columns, rows\].
fn transpose(from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    for (row, numbers) in from.chunks_exact(columns).enumerate() {
        for (column, v) in numbers.iter().enumerate() {
            to[column * rows + row] = *v;
        }
    }
}
