//! JSON Schema of the configuration files, derived from the types that read them: editors use it for completion, and trees are validated
//! against it here, so that every error has the path of its key and says what was expected.

use super::suggest::{join, suggestion};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// The schema of a type, made once.
pub fn of<T: JsonSchema + 'static>() -> &'static Value {
    static MADE: LazyLock<Mutex<HashMap<TypeId, &'static Value>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().expect("making a schema does not panic");
    made.entry(TypeId::of::<T>()).or_insert_with(|| Box::leak(Box::new(schemars::schema_for!(T).to_value())))
}

/// The schema of what a user may type: a choice by its `kind` may also be written as the kind alone, if its other keys have defaults.
pub fn as_typed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let definitions = schema.get_mut("$defs").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    for definition in definitions {
        let alone: Vec<Value> = kinds(definition).into_iter().filter(|(_, needs)| *needs == 1).map(|(kind, _)| kind.into()).collect();
        if !alone.is_empty() {
            *definition = json!({ "anyOf": [{ "enum": alone }, definition.take()] });
        }
    }
    schema
}

/// The kinds of a choice, each with the number of keys that it must have.
fn kinds(schema: &Value) -> Vec<(String, usize)> {
    let kind = |choice: &Value| {
        let kind = choice.get("properties")?.get("kind")?.get("const")?.as_str()?;
        Some((kind.to_string(), choice.get("required").and_then(Value::as_array).map_or(0, Vec::len)))
    };
    schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().filter_map(kind).collect()
}

/// What is wrong with a tree: the path, and the problem there.
pub type Complaint = (String, String);

/// The first thing in `tree` that `schema` does not allow.
pub fn check(schema: &Value, tree: &Value) -> Result<(), Complaint> {
    Checker { definitions: schema.get("$defs").and_then(Value::as_object) }.node(schema, tree, "")
}

struct Checker<'a> {
    definitions: Option<&'a Map<String, Value>>,
}

impl<'a> Checker<'a> {
    /// The schema that a reference stands for.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
        name.and_then(|name| self.definitions?.get(name)).map_or(schema, |schema| self.resolved(schema))
    }

    fn node(&self, schema: &'a Value, value: &Value, path: &str) -> Result<(), Complaint> {
        let schema = self.resolved(schema);
        if let Some(choices) = self.choices(schema) {
            return self.choice(&choices, value, path);
        }
        if let Some(names) = schema.get("enum").and_then(Value::as_array) {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            return name(&names, value, path);
        }
        if let Some(only) = schema.get("const").and_then(Value::as_str) {
            return name(&[only], value, path);
        }
        kind(schema, value, path)?;
        if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
            list.iter().enumerate().try_for_each(|(i, item)| self.node(items, item, &format!("{path}[{i}]")))?;
        }
        match value.as_object() {
            Some(map) => self.map(schema, map, path),
            None => Ok(()),
        }
    }

    /// The choices of a schema, and theirs.
    fn choices(&self, schema: &'a Value) -> Option<Vec<&'a Value>> {
        let choices = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(key)?.as_array())?;
        let each = choices.iter().map(|choice| self.resolved(choice));
        Some(each.flat_map(|choice| self.choices(choice).unwrap_or_else(|| vec![choice])).collect())
    }

    /// One of several: chosen by its `kind`, by its name, by its first key, or, where it is optional, by being there at all.
    fn choice(&self, choices: &[&'a Value], value: &Value, path: &str) -> Result<(), Complaint> {
        let there: Vec<&Value> = choices.iter().copied().filter(|choice| !is_null(choice)).collect();
        if value.is_null() && there.len() < choices.len() {
            return Ok(());
        }
        if let [one] = there[..] {
            return self.node(one, value, path);
        }
        let tag = |choice: &'a Value| choice.get("properties")?.get("kind")?.get("const")?.as_str();
        let kinds: Vec<(&str, &Value)> = choices.iter().filter_map(|choice| Some((tag(choice)?, *choice))).collect();
        let mut names: Vec<&str> = choices.iter().filter_map(|choice| choice.get("const")?.as_str()).collect();
        names.extend(choices.iter().filter_map(|choice| choice.get("enum")?.as_array()).flatten().filter_map(Value::as_str));
        // A number in place of a map or a word.
        let plain = choices.iter().find(|choice| choice.get("type").is_some_and(|kind| kind != "object" && kind != "string"));
        if let Some(plain) = plain.filter(|_| !value.is_object() && !value.is_string()) {
            return self.node(plain, value, path);
        }
        let properties = |choice: &&'a Value| choice.get("properties").and_then(Value::as_object);
        match value.as_object() {
            None if names.is_empty() && !kinds.is_empty() => Err(wrong("a map with a kind", value, path)),
            None if names.is_empty() => {
                let keys: Vec<&str> = choices.iter().filter_map(properties).flat_map(Map::keys).map(String::as_str).collect();
                let number = if plain.is_some() { "a number, or " } else { "" };
                Err(wrong(&format!("{number}a map with one of {}", keys.join(", ")), value, path))
            }
            None => name(&names, value, path),
            Some(map) if !kinds.is_empty() => {
                let (known, place): (Vec<&str>, _) = (kinds.iter().map(|(name, _)| *name).collect(), join(path, "kind"));
                let Some(kind) = map.get("kind") else { return Err((place, format!("is missing (known: {})", known.join(", ")))) };
                name(&known, kind, &place)?;
                let chosen = kinds.iter().find(|(name, _)| kind == name).expect("a known name");
                self.map(chosen.1, map, path)
            }
            Some(map) => {
                let key = map.keys().next().map_or("", String::as_str);
                match choices.iter().find(|choice| properties(choice).is_some_and(|properties| properties.contains_key(key))) {
                    Some(choice) => self.map(choice, map, path),
                    None => {
                        names.extend(choices.iter().filter_map(properties).flat_map(Map::keys).map(String::as_str));
                        Err((join(path, key), format!("unknown name{}", suggestion(key, &names))))
                    }
                }
            }
        }
    }

    /// Every key known, none missing, each value as it should be.
    fn map(&self, schema: &'a Value, map: &Map<String, Value>, path: &str) -> Result<(), Complaint> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE);
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        if let Some(key) = map.keys().find(|key| closed && !properties.contains_key(*key)) {
            let known: Vec<&str> = properties.keys().map(String::as_str).collect();
            return Err((join(path, key), format!("unknown key{}", suggestion(key, &known))));
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        if let Some(key) = required.into_iter().find(|key| !map.contains_key(*key)) {
            return Err((join(path, key), "is missing".into()));
        }
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        map.iter().try_for_each(|(key, value)| match properties.get(key).or(others) {
            Some(schema) => self.node(schema, value, &join(path, key)),
            None => Ok(()),
        })
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

fn wrong(expected: &str, value: &Value, path: &str) -> Complaint {
    let got: String = value.to_string().chars().take(60).collect();
    (path.to_string(), format!("expected {expected}, got {got}"))
}

/// One of some names.
fn name(names: &[&str], value: &Value, path: &str) -> Result<(), Complaint> {
    match value.as_str() {
        Some(word) if names.contains(&word) => Ok(()),
        Some(word) => Err((path.to_string(), format!("unknown name {word}{}", suggestion(word, names)))),
        None => Err(wrong(&format!("one of {}", names.join(", ")), value, path)),
    }
}

/// The kind of value: a number, a list, ...
fn kind(schema: &Value, value: &Value, path: &str) -> Result<(), Complaint> {
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let (least, most) = (limit("minimum").unwrap_or(f64::NEG_INFINITY), limit("maximum").unwrap_or(f64::INFINITY));
    let whole = || (value.is_u64() || value.is_i64()) && value.as_f64().is_some_and(|v| (least..=most).contains(&v));
    let fits = kinds.iter().any(|kind| match *kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => whole(),
        "number" => value.as_f64().is_some_and(|v| (least..=most).contains(&v)),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    });
    if fits {
        return Ok(());
    }
    let words = |kind: &&str| match *kind {
        "boolean" => "true or false".to_string(),
        "integer" if most.is_finite() => format!("a whole number of {least} to {most}"),
        "integer" if least >= 0.0 => format!("a whole number of at least {least}"),
        "integer" => "a whole number".to_string(),
        "number" if most.is_finite() => format!("a number of {least} to {most}"),
        "number" => "a number".to_string(),
        "string" => "a text".to_string(),
        "array" => "a list".to_string(),
        _ => "a map".to_string(),
    };
    let expected: Vec<String> = kinds.iter().filter(|kind| **kind != "null").map(words).collect();
    let (path, problem) = wrong(&expected.join(" or "), value, path);
    let alone = kinds.contains(&"array") && !value.is_null() && !value.is_object();
    Err((path, if alone { format!("{problem}; a list of one is written [{value}]") } else { problem }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
    #[expect(dead_code, reason = "only described")]
    enum Shape {
        /// With a key that has a default.
        Round {
            #[serde(default)]
            radius: f64,
        },
        /// And one that has none.
        Edged { corners: usize },
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only described")]
    enum Colour {
        /// One.
        Red,
        /// Any.
        Mixed(Vec<f64>),
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only described")]
    struct Thing {
        shape: Shape,
        #[serde(default)]
        colour: Option<Colour>,
        #[serde(default)]
        weights: Vec<i32>,
        #[serde(default)]
        names: std::collections::BTreeMap<String, bool>,
        title: Option<String>,
    }

    /// Each way to be wrong, at its path, with what would have been right.
    #[test]
    fn complaints_have_a_path_and_what_was_expected() {
        let good =
            json!({ "shape": { "kind": "edged", "corners": 3 }, "colour": { "mixed": [0.5] }, "weights": [-1], "names": { "a": true } });
        check(of::<Thing>(), &good).unwrap();
        check(of::<Thing>(), &json!({ "shape": { "kind": "round" }, "colour": null, "title": null })).unwrap();
        for (at, value, path, problem) in [
            ("/shape", json!({ "kind": "edgy" }), "shape.kind", "unknown name edgy (did you mean edged?)"),
            ("/shape", json!({ "corners": 3 }), "shape.kind", "is missing (known: round, edged)"),
            ("/shape", json!({ "kind": "edged" }), "shape.corners", "is missing"),
            ("/shape", json!({ "kind": "round", "radios": 1 }), "shape.radios", "unknown key (did you mean radius?)"),
            ("/shape", json!("round"), "shape", "expected a map with a kind, got \"round\""),
            ("/shape/corners", json!(-1), "shape.corners", "expected a whole number of at least 0, got -1"),
            ("/shape/corners", json!(2.5), "shape.corners", "expected a whole number of at least 0, got 2.5"),
            ("/shape/kind", json!([1]), "shape.kind", "expected one of round, edged, got [1]"),
            ("/colour", json!("rad"), "colour", "unknown name rad (did you mean red?)"),
            ("/colour", json!({ "mix": [] }), "colour.mix", "unknown name (did you mean mixed?)"),
            ("/colour/mixed", json!(["x"]), "colour.mixed[0]", "expected a number, got \"x\""),
            ("/weights", json!(1), "weights", "expected a list, got 1; a list of one is written [1]"),
            ("/weights", json!([1, true]), "weights[1]", "expected a whole number, got true"),
            ("/names", json!({ "a": 1 }), "names.a", "expected true or false, got 1"),
            ("", json!(null), "", "expected a map, got null"),
        ] {
            let mut tree = good.clone();
            *tree.pointer_mut(at).unwrap() = value;
            assert_eq!(check(of::<Thing>(), &tree), Err((path.to_string(), problem.to_string())), "{tree}");
        }
    }

    /// A kind alone, where nothing else is needed; checked or not, the map is as good.
    #[test]
    fn a_kind_may_be_typed_alone() {
        let typed = as_typed(of::<Thing>());
        let shape = |shape: Value| check(&typed, &json!({ "shape": shape, "title": "x" }));
        assert_eq!(shape(json!("round")), Ok(()));
        assert_eq!(shape(json!({ "kind": "round", "radius": 2 })), Ok(()));
        assert_eq!(shape(json!("edged")).unwrap_err().1, "unknown name edged (known: round)");
        assert_eq!(shape(json!({ "kind": "edged" })).unwrap_err().0, "shape.corners");
    }
}
