//! What a request selects by a plan, and what is said of one that cannot.

use engine::plan::Plan;
use serve::failure::Failure;
use serve::request::parse;
use serve::select::{Limits, Selection, select, wanted};

use crate::fixtures::{count, plan};

const LIMITS: Limits = Limits { rows: 3, values: 5 };

fn two_keys() -> Plan {
    let features = vec![count("a", "x", Some("1h")), count("b", "y", Some("1h")), count("c", "z", None)];
    plan("v", &[("user", "String"), ("item", "Int64")], features)
}

fn try_select(plan: &Plan, body: &str) -> Result<Selection, Failure> {
    let request = parse(body.as_bytes()).unwrap();
    select(plan, &wanted(&request)[0], &request, LIMITS)
}

#[test]
fn entities_are_named_in_the_plans_order_and_read_once() {
    let body = r#"{"features":["v:c","v:a"],"entities":{"item":[7,7,8],"user":["p|q","p|q","r"]}}"#;
    let selection = try_select(&two_keys(), body).unwrap_err();
    assert!(selection.to_string().contains("5 values"), "{selection}");
    let body = body.replace(r#""v:c","#, "");
    let selection = try_select(&two_keys(), &body).unwrap();
    assert_eq!(selection.features, [(0, 0)]);
    assert_eq!(selection.entities, ["p%7Cq|7", "r|8"]);
    assert_eq!(selection.slots, [0, 0, 1]);
}

#[test]
fn features_keep_their_place_in_the_request() {
    let body = r#"{"features":["v:c","w:x","v:a"],"entities":{"item":[7],"user":["p"]}}"#;
    let request = parse(body.as_bytes()).unwrap();
    let views = wanted(&request);
    assert_eq!(
        views.iter().map(|w| (w.view, w.field.as_str())).collect::<Vec<_>>(),
        [("v", "features[0]"), ("w", "features[1]")]
    );
    let selection = select(&two_keys(), &views[0], &request, LIMITS).unwrap();
    assert_eq!(selection.features, [(0, 2), (2, 0)]);
    let all = try_select(&two_keys(), r#"{"feature_service":"v","entities":{"item":[7],"user":["p"]}}"#).unwrap();
    assert_eq!(all.features, [(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn what_cannot_be_selected_is_named() {
    for (entities, feature, code, field, says) in [
        (r#""user":["p"]"#, "v:a", 400, "entities.item", "keyed by `item`"),
        (r#""user":["p"],"item":["7"]"#, "v:a", 400, "entities.item[0]", "integer"),
        (r#""user":["p"],"item":[7.5]"#, "v:a", 400, "entities.item[0]", "7.5"),
        (r#""user":["p",null],"item":[7,8]"#, "v:a", 400, "entities.user[1]", "string"),
        (r#""user":["p"],"item":[7]"#, "v:zz", 404, "features[0]", "no feature `zz`"),
        (r#""user":["a","b","c","d"],"item":[1,2,3,4]"#, "v:a", 400, "entities", "answers 3 at once"),
    ] {
        let failure =
            try_select(&two_keys(), &format!(r#"{{"features":["{feature}"],"entities":{{{entities}}}}}"#)).unwrap_err();
        assert_eq!((failure.code(), failure.field()), (code, Some(field)), "{failure}");
        assert!(failure.to_string().contains(says), "{failure}");
    }
}
