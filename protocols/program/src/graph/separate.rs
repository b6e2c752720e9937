//! Two-dimensional maxima as maxima over rows, then over columns: neighbouring windows share the first.

use super::{Graph, Node, NodeOp, Window};

impl Graph {
    /// Replaces each max pool by one over rows and one over columns where `cost(levels, comparisons)`, of a tree of pairwise
    /// maxima for one record, is less for the two together.
    pub(crate) fn with_separate_pools(mut self, cost: impl Fn(u32, u64) -> f64) -> Self {
        let mut made = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes) {
            let NodeOp::MaxPool(window) = &node.op else {
                made.push(node);
                continue;
            };
            let dims = &self.values[node.inputs[0]];
            let (channels, height) = (dims[0], dims[1]);
            let [kh, kw] = window.kernel;
            let [oh, ow] = window.output;
            let levels = |taps: usize| taps.next_power_of_two().trailing_zeros();
            let tree = |outputs: usize, taps: usize| (channels * outputs * (taps - 1)) as u64;
            let whole = cost(levels(kh * kw), tree(oh * ow, kh * kw));
            let (first, second) = (tree(height * ow, kw), tree(oh * ow, kh));
            let parts = cost(levels(kw) + levels(kh), first + second);
            if kh == 1 || kw == 1 || parts >= whole {
                made.push(node);
                continue;
            }
            let rows = Window {
                kernel: [1, kw],
                strides: [1, window.strides[1]],
                pads: [0, window.pads[1], 0, window.pads[3]],
                dilations: [1, window.dilations[1]],
                output: [height, ow],
            };
            let columns = Window {
                kernel: [kh, 1],
                strides: [window.strides[0], 1],
                pads: [window.pads[0], 0, window.pads[2], 0],
                dilations: [window.dilations[0], 1],
                output: window.output,
            };
            self.values.push(vec![channels, height, ow]);
            let between = self.values.len() - 1;
            made.push(Node {
                name: node.name.clone(),
                op: NodeOp::MaxPool(rows),
                inputs: node.inputs,
                output: between,
            });
            made.push(Node {
                name: node.name,
                op: NodeOp::MaxPool(columns),
                inputs: vec![between],
                output: node.output,
            });
        }
        self.nodes = made;
        self
    }
}
