//! The models that are measured: architectures that others publish times for, with random weights.
//!
//! What a masked evaluation costs depends on shapes and, a little, on how large values get; not on what a model was
//! trained for. So weights are drawn by the initialisation of He et al. (normal, variance 2 / fan-in; the last convolution
//! of a residual branch times 0.3, a projection times 0.7, so that values stay in range without batch normalisation, which
//! is taken as folded), from a fixed seed: everybody measures the same model. The scripts in `peers/` build the same
//! architectures for other systems.
//!
//! [`Model::onnx`] makes an ONNX file, so what is measured comes through the importer and the planner like any other.

mod draw;
mod onnx;

use std::fmt;

pub use draw::Draw;
use onnx::{Order, Padding, Transformer, Writer};

/// A model of the zoo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// 784-128-128-10 with ReLU.
    Mlp,
    /// Two convolutions of 5x5, pooled, and two dense layers, over 28x28 pixels.
    Lenet,
    /// ResNet-18 for 32x32 pixels: a stem of 3x3, no pool.
    Resnet18Cifar,
    /// ResNet-50 for 224x224 pixels.
    Resnet50At224,
    /// ReLU of 10^6 values.
    Relu1m,
    /// A matrix of 1024x1024 times weights of the same size.
    Mm1024,
    /// Two layers of 128 values, two heads, over 128 positions.
    BertTiny,
    /// Twelve layers of 768 values, twelve heads, over 128 positions.
    BertBase,
    /// The first of these layers.
    BertBaseLayer,
    /// GPT-2 small over 32 positions: scores of the next of 50257 words.
    Gpt2At32,
}

/// How inputs are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Inputs {
    /// Between the two.
    Uniform(f32, f32),
    /// Around zero, with this deviation.
    Normal(f32),
}

/// The name of the only input of every model.
pub const INPUT: &str = "x";

/// Seed of all weights.
const WEIGHTS: u64 = 0;

impl Model {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Mlp,
        Self::Lenet,
        Self::Resnet18Cifar,
        Self::Resnet50At224,
        Self::Relu1m,
        Self::Mm1024,
        Self::BertTiny,
        Self::BertBase,
        Self::BertBaseLayer,
        Self::Gpt2At32,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Lenet => "lenet",
            Self::Resnet18Cifar => "resnet18_cifar",
            Self::Resnet50At224 => "resnet50_224",
            Self::Relu1m => "relu1m",
            Self::Mm1024 => "mm1024",
            Self::BertTiny => "bert_tiny",
            Self::BertBase => "bert_base",
            Self::BertBaseLayer => "bert_base1l",
            Self::Gpt2At32 => "gpt2_s32",
        }
    }

    /// The model of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Shape of one record.
    pub fn record(self) -> &'static [usize] {
        match self {
            Self::Mlp => &[784],
            Self::Lenet => &[1, 28, 28],
            Self::Resnet18Cifar => &[3, 32, 32],
            Self::Resnet50At224 => &[3, 224, 224],
            Self::Relu1m => &[1_000_000],
            Self::Mm1024 => &[1024, 1024],
            Self::BertTiny => &[128, 128],
            Self::BertBase | Self::BertBaseLayer => &[128, 768],
            Self::Gpt2At32 => &[32, 768],
        }
    }

    /// What its inputs are like.
    pub fn inputs(self) -> Inputs {
        match self {
            Self::Mlp | Self::Lenet => Inputs::Uniform(0.0, 1.0),
            Self::Resnet18Cifar | Self::Resnet50At224 => Inputs::Uniform(-1.0, 1.0),
            Self::Relu1m => Inputs::Normal(4.0),
            Self::Mm1024
            | Self::BertTiny
            | Self::BertBase
            | Self::BertBaseLayer
            | Self::Gpt2At32 => Inputs::Normal(1.0),
        }
    }

    /// Whether its outputs are scores of classes, of which the largest counts.
    pub fn classifies(self) -> bool {
        matches!(
            self,
            Self::Mlp | Self::Lenet | Self::Resnet18Cifar | Self::Resnet50At224 | Self::Gpt2At32
        )
    }

    /// The ONNX file: operator set 20, one input [`INPUT`] of `[n, record...]`, one output.
    pub fn onnx(self) -> Vec<u8> {
        let mut w = Writer::new(self.name(), self.record(), WEIGHTS);
        match self {
            Self::Mlp => mlp(&mut w),
            Self::Lenet => lenet(&mut w),
            Self::Resnet18Cifar => resnet18(&mut w),
            Self::Resnet50At224 => resnet50(&mut w),
            Self::Relu1m => w.relu(),
            Self::Mm1024 => w.matmul(1024, 1024),
            Self::BertTiny => encoder(&mut w, 2, 128, 2),
            Self::BertBase => encoder(&mut w, 12, 768, 12),
            Self::BertBaseLayer => encoder(&mut w, 1, 768, 12),
            Self::Gpt2At32 => gpt2(&mut w),
        }
        w.finish()
    }

    /// `records` inputs from `seed`, row-major.
    pub fn draw(self, records: usize, seed: u64) -> Vec<f32> {
        let elements = records * self.record().iter().product::<usize>();
        // Apart from the weights', whatever the seed.
        let mut draw = Draw::new(seed.wrapping_add(1 << 32));
        let mut one = || match self.inputs() {
            Inputs::Uniform(lo, hi) => lo + (hi - lo) * draw.uniform(),
            Inputs::Normal(deviation) => deviation * draw.normal(),
        };
        (0..elements).map(|_| one()).collect()
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn mlp(w: &mut Writer) {
    w.dense(784, 128, 0.01);
    w.relu();
    w.dense(128, 128, 0.01);
    w.relu();
    w.dense(128, 10, 0.0);
}

fn lenet(w: &mut Writer) {
    for (inputs, outputs) in [(1, 20), (20, 50)] {
        w.conv(5, inputs, outputs, 1, Padding::Valid, 1.0);
        w.max_pool(2, 2, 0);
        w.relu();
    }
    w.flatten();
    w.dense(800, 500, 0.0);
    w.relu();
    w.dense(500, 10, 0.0);
}

/// Factor of the weights of a branch's last convolution.
const BRANCH: f32 = 0.3;
/// Factor of the weights of a projection.
const PROJECTION: f32 = 0.7;

fn resnet18(w: &mut Writer) {
    w.conv(3, 3, 64, 1, Padding::Same, 1.0);
    w.relu();
    let mut inputs = 64;
    for (channels, first) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        for stride in [first, 1] {
            let x = w.here();
            w.conv(3, inputs, channels, stride, Padding::Same, 1.0);
            w.relu();
            w.conv(3, channels, channels, 1, Padding::Same, BRANCH);
            let branch = w.here();
            w.go(x);
            if stride != 1 || inputs != channels {
                w.conv(1, inputs, channels, stride, Padding::Same, PROJECTION);
            }
            w.add(branch);
            w.relu();
            inputs = channels;
        }
    }
    w.global_mean();
    w.dense(512, 10, 0.0);
}

fn resnet50(w: &mut Writer) {
    w.conv(7, 3, 64, 2, Padding::Same, 1.0);
    w.relu();
    w.max_pool(3, 2, 1);
    let mut inputs = 64;
    for (channels, blocks, first) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
        for block in 0..blocks {
            let stride = if block == 0 { first } else { 1 };
            let outputs = 4 * channels;
            let x = w.here();
            w.conv(1, inputs, channels, 1, Padding::Same, 1.0);
            w.relu();
            w.conv(3, channels, channels, stride, Padding::Same, 1.0);
            w.relu();
            w.conv(1, channels, outputs, 1, Padding::Same, BRANCH);
            let branch = w.here();
            w.go(x);
            if block == 0 {
                w.conv(1, inputs, outputs, stride, Padding::Same, PROJECTION);
            }
            w.add(branch);
            w.relu();
            inputs = outputs;
        }
    }
    w.global_mean();
    w.dense(2048, 1000, 0.0);
}

/// Positions of the encoders.
const POSITIONS: usize = 128;

/// An encoder without embeddings and pooler: what costs time. Weights have variance 1 / fan-in.
fn encoder(w: &mut Writer, layers: usize, width: usize, heads: usize) {
    for _ in 0..layers {
        w.transformer(&Transformer {
            positions: POSITIONS,
            width,
            heads,
            order: Order::NormLast,
        });
    }
}

/// GPT-2 small behind its embeddings.
fn gpt2(w: &mut Writer) {
    for _ in 0..12 {
        w.transformer(&Transformer {
            positions: 32,
            width: 768,
            heads: 12,
            order: Order::NormFirst,
        });
    }
    w.language_head(32, 768, 50257);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ai_link_program::{Graph, ImportLimits, Tensor};

    use super::*;

    /// Elements of all weights and biases, by the usual formulas of these architectures.
    #[test]
    fn models_have_the_parameters_of_their_architecture() {
        for (model, parameters) in [
            (Model::Mlp, 784 * 128 + 128 * 128 + 128 * 10 + 266),
            (
                Model::Lenet,
                25 * 20 + 20 + 500 * 50 + 50 + 800 * 500 + 500 + 5010,
            ),
            // As torchvision's with batch normalisation folded: 11.17 and 25.53 million.
            (Model::Resnet18Cifar, 11_169_162),
            (Model::Resnet50At224, 25_530_472),
            (Model::Relu1m, 0),
            (Model::Mm1024, 1 << 20),
            (Model::BertTiny, 2 * (12 * 128 * 128 + 13 * 128) + 2),
            (Model::BertBaseLayer, 12 * 768 * 768 + 13 * 768 + 1),
        ] {
            assert_eq!(onnx::parameters(&model.onnx()), parameters, "{model}");
        }
    }

    #[test]
    fn small_models_import_and_keep_values_in_range() {
        for model in [Model::Mlp, Model::Lenet] {
            let graph = Graph::from_onnx(&model.onnx(), ImportLimits::default()).unwrap();
            let mut dims = vec![2];
            dims.extend(model.record());
            let x = Tensor::new(dims, model.draw(2, 1)).unwrap();
            let y = graph.run_f32(&[x]).unwrap();
            assert_eq!(y[0].dims, [2, 10]);
            let scores = y[0].as_f32().unwrap();
            let largest = scores.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!((0.1..100.0).contains(&largest), "{model}: {largest}");
        }
    }

    #[test]
    fn draws_are_reproducible_and_differ_by_seed() {
        let model = Model::Mlp;
        assert_eq!(model.draw(1, 3), model.draw(1, 3));
        assert_ne!(model.draw(1, 3), model.draw(1, 4));
        for model in Model::ALL {
            assert_eq!(Model::named(model.name()), Some(model));
        }
        assert_eq!(Model::named("vgg"), None);
    }
}
