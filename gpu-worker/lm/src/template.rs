//! Chat templates: from messages to the text that the model was trained on.
//!
//! Templates are Jinja programs of the model's owner. They run in `minijinja` with bounded fuel, see nothing but the
//! messages, the tools and the names of special tokens, and touch nothing.

use std::io::{self, Write};

use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::Value as Json;

use crate::error::{GenerateError, LoadError};
use crate::files::Files;

/// Instructions of a template: enough for conversations of thousands of messages.
const FUEL: u64 = 10_000_000;
const NAME: &str = "chat";

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    /// The checkpoint's, if it has one.
    pub(crate) fn find(files: &Files) -> Result<Option<Self>, LoadError> {
        let config: Json = files.json("tokenizer_config.json")?.unwrap_or_default();
        let own = files.get("chat_template.jinja");
        let own = own.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let source = own.or_else(|| match &config["chat_template"] {
            Json::String(source) => Some(source.clone()),
            // Several, by name.
            Json::Array(named) => named
                .iter()
                .find(|t| t["name"] == "default")
                .and_then(|t| t["template"].as_str())
                .map(str::to_owned),
            _ => None,
        });
        let token = |name: &str| {
            let token = &config[name];
            let text = token.as_str().or_else(|| token["content"].as_str());
            text.unwrap_or_default().to_owned()
        };
        let (bos, eos) = (token("bos_token"), token("eos_token"));
        source
            .map(|source| Self::compile(source, bos, eos))
            .transpose()
    }

    fn compile(source: String, bos: String, eos: String) -> Result<Self, LoadError> {
        let mut environment = Environment::new();
        // As `transformers` sets its own Jinja.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment
            .add_template_owned(NAME, source)
            .map_err(LoadError::Template)?;
        Ok(Self {
            environment,
            bos,
            eos,
        })
    }

    /// The prompt of a conversation, at the point where the assistant speaks.
    ///
    /// # Errors
    /// [`GenerateError::Template`].
    pub fn render(&self, messages: &Json, tools: Option<&Json>) -> Result<String, GenerateError> {
        let values = context! {
            messages => value(messages),
            tools => tools.map(value),
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
        };
        let template = self
            .environment
            .get_template(NAME)
            .map_err(GenerateError::Template)?;
        template.render(values).map_err(GenerateError::Template)
    }
}

/// A value for a template. Not through `serde`: where `serde_json` keeps numbers in any precision, they do not survive it.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(bool) => Value::from(*bool),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| (name.as_str(), value(field)));
            Value::from_iter(fields)
        }
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}

/// JSON as Python's `json.dumps` writes it, which is what models have seen: a space after each comma and colon.
fn to_json(value: Value) -> Result<String, Error> {
    let failed = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
    serde::Serialize::serialize(&value, &mut writer).map_err(failed)?;
    String::from_utf8(bytes).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(source: &str) -> Template {
        let compiled = Template::compile(source.into(), "<s>".into(), "</s>".into());
        compiled.expect("the template compiles")
    }

    #[test]
    fn messages_and_tools_become_a_prompt() {
        let source = "{{ bos_token }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}\
            {% for m in messages %}\n{{ m.role.upper() }}: {{ m['content'].strip() }}{{ eos_token }}{% endfor %}";
        let messages = json!([{"role": "user", "content": " hi "}]);
        let rendered =
            template(source).render(&messages, Some(&json!([{"name": "f", "of": [1, 2]}])));
        assert_eq!(
            rendered.expect("it renders"),
            "<s>{\"name\": \"f\", \"of\": [1, 2]}USER: hi</s>"
        );
    }

    #[test]
    fn what_a_template_raises_and_one_that_does_not_end_are_errors() {
        for source in [
            "{{ raise_exception('roles must alternate') }}",
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
        ] {
            let refused = template(source).render(&json!([]), None);
            assert!(
                matches!(refused, Err(GenerateError::Template(_))),
                "{source}"
            );
        }
    }
}
