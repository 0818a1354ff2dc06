//! Keyed datasets, and what is said about those that cannot be.

use serde_json::{Value as Json, json};

use super::faults;

fn found(dataset: Json) -> Vec<String> {
    faults(&[("/datasets/-", dataset)]).into_iter().map(|fault| fault.message).collect()
}

fn user(more: Json) -> Json {
    let mut user = json!({"name": "User", "index": true, "cdc": "upsert", "fields": [
        {"name": "user", "type": "str", "role": "key"},
        {"name": "country", "type": "str", "optional": true},
        {"name": "gone", "type": "bool", "optional": true},
        {"name": "at", "type": "datetime", "role": "timestamp"}]});
    for (name, value) in more.as_object().unwrap() {
        user[name] = value.clone();
    }
    user
}

#[test]
fn what_is_deleted_is_said_by_a_bool_of_a_keyed_dataset() {
    assert_eq!(found(user(json!({}))), Vec::<String>::new());
    assert_eq!(found(user(json!({"deleted": "gone"}))), Vec::<String>::new());
    let table = [
        (json!({"deleted": "country"}), "User.country says that a row is deleted and is"),
        (json!({"deleted": "at"}), "User.at says that a row is deleted and is"),
        (json!({"deleted": "lost"}), "User says by lost what is deleted, which is none of its fields"),
        (json!({"deleted": "gone", "cdc": null}), "give the dataset cdc=\"upsert\", or remove deleted=True"),
        (json!({"index": false}), "User has cdc and no index"),
    ];
    for (more, says) in table {
        let found = found(user(more.clone()));
        assert!(found.len() == 1 && found[0].contains(says), "{more}: {found:?}");
    }
}

#[test]
fn pipelines_neither_make_nor_read_rows_that_replace_each_other() {
    let made = faults(&[("/datasets/1/cdc", json!("upsert"))]);
    assert!(made.iter().any(|fault| fault.message.contains("has cdc, and a pipeline makes it")), "{made:?}");
    let read = faults(&[("/datasets/0/cdc", json!("upsert")), ("/datasets/0/index", json!(true))]);
    assert!(read.iter().any(|fault| fault.message.contains("whose rows replace each other")), "{read:?}");
}
