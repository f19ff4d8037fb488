//! From a tree to a typed value: everything that the schema does not allow is an error with its path and what would have been right.

use super::schema;
use crate::base::error::ConfigError;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The typed value of `tree`.
pub fn typed<T: DeserializeOwned + JsonSchema + 'static>(tree: &Value, origin: &str) -> Result<T, ConfigError> {
    schema::check(schema::of::<T>(), tree).map_err(|(path, problem)| ConfigError::new(origin, &path, problem))?;
    // What a schema cannot say: a map's keys that are names, a number beyond its type.
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = error.path().to_string();
        ConfigError::new(origin, if path == "." { "" } else { &path }, error.into_inner().to_string())
    })
}
