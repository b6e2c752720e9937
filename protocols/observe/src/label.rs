//! Labels whose values are known before anything is counted.

use std::fmt;
use std::hash::Hash;

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};

/// A label with a closed set of values. [`label!`](crate::label) makes one.
pub trait Label: Copy + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All values.
    const ALL: &'static [Self];

    /// The text of a value: `[a-z0-9_]+`.
    fn text(self) -> &'static str;
}

/// Makes an enum that is a [`Label`].
///
/// ```
/// ai_link_observe::label! {
///     /// Which door.
///     pub enum Door: "door" {
///         /// Where guests come.
///         Front = "front",
///         /// Where they go.
///         Back = "back",
///     }
/// }
/// use ai_link_observe::Label as _;
/// assert_eq!((Door::NAME, Door::ALL.len(), Door::Back.text()), ("door", 2, "back"));
/// ```
#[macro_export]
macro_rules! label {
    ($(#[$attribute:meta])* $visible:vis enum $name:ident: $label:literal {
        $($(#[$about:meta])* $value:ident = $text:literal),* $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        $visible enum $name { $($(#[$about])* $value),* }

        impl $crate::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value),*];

            fn text(self) -> &'static str {
                match self { $(Self::$value => $text),* }
            }
        }
    };
}

/// What something is counted by: nothing, one label, or two.
pub trait Dimensions: Copy + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// Every combination there is.
    fn all() -> Vec<Self>;

    /// The labels of this one.
    fn labels(self) -> Vec<(&'static str, &'static str)>;
}

impl Dimensions for () {
    fn all() -> Vec<Self> {
        vec![()]
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

impl<L: Label> Dimensions for L {
    fn all() -> Vec<Self> {
        L::ALL.to_vec()
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        vec![(L::NAME, self.text())]
    }
}

impl<A: Label, B: Dimensions> Dimensions for (A, B) {
    fn all() -> Vec<Self> {
        let pairs = |a: &A| B::all().into_iter().map(|b| (*a, b)).collect::<Vec<_>>();
        A::ALL.iter().flat_map(pairs).collect()
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        let mut labels = self.0.labels();
        labels.extend(self.1.labels());
        labels
    }
}

/// Dimensions as the library wants them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Set<D>(pub(crate) D);

impl<D: Dimensions> EncodeLabelSet for Set<D> {
    fn encode(&self, mut encoder: LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        for label in self.0.labels() {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}
