//! JSON for templates: the template engine's own bridge to serde is not compiled in.

use std::collections::BTreeMap;

use minijinja::Value;

/// Hands a JSON value to the template engine.
pub(crate) fn template_value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::from(whole),
            None => Value::from(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::from(
            items
                .into_iter()
                .map(template_value)
                .collect::<Vec<Value>>(),
        ),
        serde_json::Value::Object(fields) => Value::from(
            fields
                .into_iter()
                .map(|(name, item)| (name, template_value(item)))
                .collect::<BTreeMap<_, _>>(),
        ),
    }
}
