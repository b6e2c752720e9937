//! Attributes of a node, by name.

use ai_link_program::onnx::proto::{AttributeProto, NodeProto};

pub(super) struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Self {
        Self(node)
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name))
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.find(name)?.f
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.find(name)?.i
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.find(name)?.s.as_deref()?).ok()
    }

    pub(super) fn floats(&self, name: &str) -> &'a [f32] {
        self.find(name).map_or(&[], |a| &a.floats)
    }

    pub(super) fn ints(&self, name: &str) -> &'a [i64] {
        self.find(name).map_or(&[], |a| &a.ints)
    }

    pub(super) fn strings(&self, name: &str) -> Vec<String> {
        let texts = self.find(name).map_or(&[][..], |a| &a.strings);
        texts
            .iter()
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect()
    }

    /// Names of classes, integers or strings.
    pub(super) fn labels(&self, ints: &str, strings: &str) -> Vec<String> {
        let named = self.strings(strings);
        if named.is_empty() {
            return self.ints(ints).iter().map(i64::to_string).collect();
        }
        named
    }

    pub(super) fn name(&self) -> (String, String) {
        let name = self.0.name.clone().unwrap_or_default();
        (name, self.0.op_type.clone().unwrap_or_default())
    }
}
