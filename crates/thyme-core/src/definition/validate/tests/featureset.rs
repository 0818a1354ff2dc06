//! Featuresets: faults, cycles, and the entity.

use serde_json::{Value as Json, json};

use super::{changed, check, empty, faults, good, parse};
use crate::definition::entity::entity_fields;
use crate::definition::validate::validate;

#[test]
fn featuresets() {
    check(&[
        (
            "/featuresets/0/features/1/id",
            json!(1),
            "DriverFeatures.rides_1h",
            "has the id 1, which DriverFeatures.driver has too",
        ),
        ("/featuresets/0/features/1/id", json!(0), "DriverFeatures.rides_1h", "ids are positive"),
        (
            "/featuresets/0/features/1/id",
            json!(null),
            "DriverFeatures",
            "and not to rides_1h; give all of them one, or none",
        ),
        (
            "/featuresets/0/features/1/ref/dataset",
            json!("DriverStat"),
            "DriverFeatures.rides_1h",
            "there is no dataset DriverStat; did you mean DriverStats?",
        ),
        (
            "/featuresets/0/features/1/ref/field",
            json!("rides_2h"),
            "DriverFeatures.rides_1h",
            "has no such field; did you mean rides_1h?",
        ),
        (
            "/featuresets/0/features/1/type",
            json!("str"),
            "DriverFeatures.rides_1h",
            "is declared str, and DriverStats.rides_1h is int; declare it int",
        ),
        (
            "/featuresets/0/features/1/request",
            json!(true),
            "DriverFeatures.rides_1h",
            "gets its value from ref=DriverStats.rides_1h and request=True; keep one",
        ),
        (
            "/featuresets/0/features/3/request",
            json!(true),
            "DriverFeatures.score",
            "from request=True and extractor scored",
        ),
        (
            "/featuresets/0/features/2/default",
            json!("noon"),
            "DriverFeatures.hour",
            "the default of DriverFeatures.hour does not fit its type int: \"noon\" is of type str where int is declared",
        ),
        (
            "/featuresets/0/features/-",
            json!({"id": 5, "name": "plain", "type": "int"}),
            "DriverFeatures.plain",
            "has nothing that gives it a value: give it ref=, request=True or an extractor",
        ),
        (
            "/featuresets/1/features/-",
            json!({"name": "plain", "type": "float"}),
            "Other.plain",
            "a float cannot be an entity key",
        ),
        (
            "/featuresets/0/features/0/type",
            json!("int"),
            "DriverFeatures",
            "DriverFeatures.driver is the entity key and declared int, and the key driver of DriverStats is str; declare it str",
        ),
        (
            "/featuresets/0/extractors/0/outputs",
            json!(["score", "scor"]),
            "DriverFeatures.scored",
            "gives scor, which is no feature of DriverFeatures; did you mean score?",
        ),
        (
            "/featuresets/0/extractors/0/inputs/0/feature",
            json!("rides"),
            "DriverFeatures.scored",
            "takes rides, which is no feature of DriverFeatures",
        ),
        (
            "/featuresets/0/extractors/0/deps",
            json!(["Rider"]),
            "DriverFeatures.scored",
            "depends on the dataset Rider, which is not there; did you mean Ride?",
        ),
        ("/featuresets/0/extractors/0/version", json!(0), "DriverFeatures.scored", "versions count from 1"),
        (
            "/featuresets/1/extractors/0/inputs/0/featureset",
            json!("DriverFeature"),
            "Other.give",
            "there is no featureset DriverFeature; did you mean DriverFeatures?",
        ),
        (
            "/featuresets/1/extractors/0/inputs/0/feature",
            json!("scores"),
            "Other.give",
            "takes scores, which is no feature of DriverFeatures; did you mean score?",
        ),
        ("/featuresets/1/name", json!("Ride"), "Ride", "two definitions are named Ride"),
        (
            "/datasets/0/index",
            json!(false),
            "DriverFeatures.scored",
            "looks up Ride, a raw dataset without an index; declare it with @dataset(index=True)",
        ),
    ]);
    let member = faults(&[("/featuresets/0/extractors/0/name", json!("hour"))]);
    assert!(member[0].message.contains("DriverFeatures has two members named hour"), "{member:?}");
    let twice = faults(&[(
        "/featuresets/0/extractors/-",
        json!({"name": "again", "inputs": [], "outputs": ["score"], "form": "dict", "code": ""}),
    )]);
    assert!(twice[0].message.contains("extractor scored and extractor again"), "{twice:?}");
    let silent = faults(&[(
        "/featuresets/0/extractors/-",
        json!({"name": "none", "inputs": [], "outputs": [], "form": "dict", "code": ""}),
    )]);
    assert!(silent[0].message.contains("gives no feature"), "{silent:?}");
    let raw = json!({"id": 9, "name": "fare", "type": "float", "ref": {"dataset": "Ride", "field": "fare"}});
    let both = faults(&[("/datasets/0/index", json!(false)), ("/featuresets/0/features/-", raw)]);
    assert!(
        both[0].message.contains("refers to Ride.fare, and Ride is a raw dataset without an index"),
        "{both:?}"
    );
    let two_keys = json!({"name": "Pair", "features": [{"name": "a", "type": "str"}, {"name": "b", "type": "str"}, {"name": "x", "type": "float"}],
        "extractors": [{"name": "e", "inputs": [{"featureset": "Other", "feature": "bonus"}], "outputs": ["x"], "form": "dict", "code": ""}]});
    let strangers = faults(&[("/featuresets/-", two_keys)]);
    assert!(
        strangers[0]
            .message
            .contains("whose entity is driver: str, and the entity of Pair is a: str, b: str"),
        "{strangers:?}"
    );
}

#[test]
fn cycles_are_named() {
    let back = json!({"featureset": "Other", "feature": "bonus"});
    let faults_of = |changes: &[(&str, Json)]| {
        faults(changes).into_iter().map(|f| (f.subject, f.message)).collect::<Vec<_>>()
    };
    let found = faults_of(&[("/featuresets/0/extractors/0/inputs/-", back)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "DriverFeatures.score");
    assert!(
        found[0]
            .1
            .contains("DriverFeatures.score -> Other.bonus -> DriverFeatures.score (each needs the next)"),
        "{found:?}"
    );
    let found = faults_of(&[("/featuresets/0/extractors/0/inputs/-", json!({"feature": "score"}))]);
    assert!(found[0].1.contains("DriverFeatures.score -> DriverFeatures.score"), "{found:?}");
}

#[test]
fn a_long_chain_of_features_is_no_cycle_and_no_overflow() {
    let n = 9_000;
    let mut features = vec![json!({"name": "k", "type": "str"})];
    features.extend((0..n).map(|i| json!({"name": format!("f{i}"), "type": "int"})));
    let extractors: Vec<Json> = (0..n)
        .map(|i| {
            let input = if i + 1 < n { format!("f{}", i + 1) } else { "k".to_owned() };
            json!({"name": format!("e{i}"), "inputs": [{"feature": input}], "outputs": [format!("f{i}")], "form": "dict", "code": ""})
        })
        .collect();
    let document = json!({"format": 1, "featuresets": [{"name": "Long", "features": features, "extractors": extractors}]});
    assert_eq!(validate(&parse(document), &empty()), []);
}

#[test]
fn the_entity_is_the_keys_in_the_order_of_the_features() {
    let entity = |document: Json, name: &str| {
        let document = parse(document);
        let fields = entity_fields(document.featureset(name).unwrap(), &|n| document.dataset(n)).unwrap();
        fields.into_iter().map(|(name, t)| format!("{name}: {t}")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(entity(good(), "DriverFeatures"), "driver: str");
    // No datasets: the plain features.
    assert_eq!(entity(good(), "Other"), "driver: str");

    let city = json!({"name": "City", "index": true, "fields": [
        {"name": "city", "type": "int", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"}]});
    let trip = json!({"name": "Trip", "index": true, "fields": [
        {"name": "city", "type": "int", "role": "key"}, {"name": "driver", "type": "str", "role": "key"},
        {"name": "at", "type": "datetime", "role": "timestamp"}]});
    let reference = |dataset: &str| json!({"id": 8, "name": "r", "type": "datetime", "ref": {"dataset": dataset, "field": "at"}});
    let plain = |name: &str| json!({"id": 9, "name": name, "type": "int"});
    let with = |changes: &[(&str, Json)]| {
        let common = [("/datasets/-", city.clone()), ("/datasets/-", trip.clone())];
        entity(changed(&[&common, changes].concat()), "DriverFeatures")
    };
    // Keys of datasets referred to, also unnamed ones; features name the order.
    assert_eq!(with(&[("/featuresets/0/features/-", reference("Trip"))]), "driver: str, city: int");
    assert_eq!(with(&[("/featuresets/0/features/-", reference("City"))]), "driver: str, city: int");
    assert_eq!(
        with(&[
            ("/featuresets/0/features/0", plain("city")),
            ("/featuresets/0/features/-", reference("Trip"))
        ]),
        "city: int, driver: str"
    );
    // Keys of datasets that are only looked up count where a plain feature names them.
    let deps = ("/featuresets/0/extractors/0/deps", json!(["City"]));
    assert_eq!(with(std::slice::from_ref(&deps)), "driver: str");
    assert_eq!(with(&[deps.clone(), ("/featuresets/0/features/-", plain("city"))]), "driver: str, city: int");
    // Or where nothing else says what the entity is.
    let alone = ("/featuresets/0/features", json!([{"id": 4, "name": "score", "type": "float"}]));
    let inputs = ("/featuresets/0/extractors/0/inputs", json!([]));
    assert_eq!(with(&[deps, alone, inputs]), "city: int");

    let mut clash = good();
    clash["datasets"][1]["fields"][0]["type"] = json!("int");
    clash["featuresets"][0]["features"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "fare", "type": "float", "ref": {"dataset": "Ride", "field": "fare"}}));
    let clash = parse(clash);
    let error =
        entity_fields(clash.featureset("DriverFeatures").unwrap(), &|n| clash.dataset(n)).unwrap_err();
    assert_eq!(
        error.detail(),
        "featureset DriverFeatures has no entity: its key driver is int in DriverStats and str in Ride; give both datasets the same type"
    );
}
