//! The query language of `Subscribe`, pure.
//!
//! Purpose: check a query once, then ask it of many documents. Inputs: the message of a request; the members of a
//! document. Outputs: a [`Query`] or the [`QueryError`] that names the place in it; true or false.
//! What it does not do: look at deletes, which pass every query, or inside fields: a field is a top-level key.

use peat_proto::sidecar::peat::sidecar::v1 as proto;
use peat_proto::sidecar::peat::sidecar::v1::__buffa::oneof::subscription_query::Q;
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;

/// Most nodes of a query on a path from its root.
pub const DEEPEST: usize = 16;

/// A checked query.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// Every document.
    All,
    /// The field exists and has an equal value; numbers compare by value.
    Eq(String, Value),
    /// The field is less: two numbers, or two strings by bytes. Any other pair is false.
    Lt(String, Value),
    /// The field is greater, with the same rule.
    Gt(String, Value),
    /// All hold; true when empty.
    And(Vec<Self>),
    /// One holds; false when empty.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
}

/// A query that cannot be asked. `place` leads to it from the request, such as `query.and.clauses[1].eq`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No construct is chosen.
    #[error("{place} has none of eq, lt, gt, and, or, not, all")]
    Empty {
        /// Where.
        place: String,
    },
    /// The field has no name.
    #[error("{place}.field is empty")]
    Field {
        /// Where.
        place: String,
    },
    /// The value is no JSON.
    #[error("{place}.value is not valid JSON: {reason}")]
    Value {
        /// Where.
        place: String,
        /// What the parser says, with the position.
        reason: String,
    },
    /// Too many nodes on a path.
    #[error("query is nested deeper than {DEEPEST}")]
    Depth,
}

impl Query {
    /// Checks the query of a request.
    ///
    /// # Errors
    /// The first [`QueryError`] from the root.
    pub fn parse(query: &proto::SubscriptionQuery) -> Result<Self, QueryError> {
        parse(query, "query", 1)
    }

    /// Whether a document with these members is meant.
    pub fn holds(&self, document: &Map<String, Value>) -> bool {
        let ordered =
            |field, value, wanted| document.get(field).is_some_and(|found| order(found, value) == Some(wanted));
        match self {
            Self::All => true,
            Self::Eq(field, value) => document.get(field).is_some_and(|found| equal(found, value)),
            Self::Lt(field, value) => ordered(field, value, Ordering::Less),
            Self::Gt(field, value) => ordered(field, value, Ordering::Greater),
            Self::And(clauses) => clauses.iter().all(|clause| clause.holds(document)),
            Self::Or(clauses) => clauses.iter().any(|clause| clause.holds(document)),
            Self::Not(clause) => !clause.holds(document),
        }
    }
}

fn parse(query: &proto::SubscriptionQuery, place: &str, depth: usize) -> Result<Query, QueryError> {
    if depth > DEEPEST {
        return Err(QueryError::Depth);
    }
    match &query.q {
        None => Err(QueryError::Empty { place: place.to_owned() }),
        Some(Q::All(_)) => Ok(Query::All),
        Some(Q::Eq(eq)) => comparison(&eq.field, &eq.value, format!("{place}.eq"), Query::Eq),
        Some(Q::Lt(lt)) => comparison(&lt.field, &lt.value, format!("{place}.lt"), Query::Lt),
        Some(Q::Gt(gt)) => comparison(&gt.field, &gt.value, format!("{place}.gt"), Query::Gt),
        Some(Q::And(and)) => clauses(&and.clauses, &format!("{place}.and"), depth).map(Query::And),
        Some(Q::Or(or)) => clauses(&or.clauses, &format!("{place}.or"), depth).map(Query::Or),
        Some(Q::Not(not)) => Ok(Query::Not(Box::new(parse(not, &format!("{place}.not"), depth + 1)?))),
    }
}

fn clauses(clauses: &[proto::SubscriptionQuery], place: &str, depth: usize) -> Result<Vec<Query>, QueryError> {
    let numbered = clauses.iter().enumerate();
    numbered.map(|(index, clause)| parse(clause, &format!("{place}.clauses[{index}]"), depth + 1)).collect()
}

fn comparison(field: &str, value: &str, place: String, make: fn(String, Value) -> Query) -> Result<Query, QueryError> {
    if field.is_empty() {
        return Err(QueryError::Field { place });
    }
    match serde_json::from_str(value) {
        Ok(value) => Ok(make(field.to_owned(), value)),
        Err(error) => Err(QueryError::Value { place, reason: error.to_string() }),
    }
}

/// Equality of JSON in which numbers are equal by value, also inside lists and objects.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number_order(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Order of two numbers or two strings; none for any other pair.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number_order(a, b),
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => None,
    }
}

/// Order by value, exact for 64-bit integers against each other and against doubles.
fn number_order(a: &Number, b: &Number) -> Option<Ordering> {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => b.as_f64().and_then(|b| integer_order(a, b)),
        (None, Some(b)) => a.as_f64().and_then(|a| integer_order(b, a)).map(Ordering::reverse),
        (None, None) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn integer_order(integer: i128, double: f64) -> Option<Ordering> {
    // Casting saturates, so a double beyond 128 bits still lies on its side of every 64-bit integer.
    let whole = double.trunc() as i128;
    (!double.is_nan()).then(|| integer.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(double.fract() + 0.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(json: Value) -> proto::SubscriptionQuery {
        serde_json::from_value(json).unwrap()
    }

    fn query(json: Value) -> Result<Query, QueryError> {
        Query::parse(&message(json))
    }

    fn holds(json: Value, document: Value) -> bool {
        let Value::Object(document) = document else { unreachable!() };
        query(json).unwrap().holds(&document)
    }

    fn eq(value: &str) -> Value {
        json!({"eq": {"field": "k", "value": value}})
    }

    fn lt(value: &str) -> Value {
        json!({"lt": {"field": "k", "value": value}})
    }

    fn gt(value: &str) -> Value {
        json!({"gt": {"field": "k", "value": value}})
    }

    #[test]
    fn equality_is_of_any_type_and_of_numbers_by_value() {
        for (value, found) in [
            ("\"vehicle\"", json!("vehicle")),
            ("42", json!(42)),
            ("1", json!(1.0)),
            ("1.0", json!(1)),
            ("true", json!(true)),
            ("null", json!(null)),
            ("[1,{\"a\":2.0}]", json!([1.0, {"a": 2}])),
            ("18446744073709551615", json!(u64::MAX)),
            ("-0.0", json!(0)),
        ] {
            assert!(holds(eq(value), json!({"k": found})), "{value} {found}");
        }
        for (value, found) in [
            ("\"1\"", json!(1)),
            ("9007199254740993", json!(9007199254740992.0)),
            ("18446744073709551615", json!(18446744073709551616.0)),
            ("null", json!(false)),
            ("[1]", json!([1, 2])),
            ("0", json!(0.5)),
            ("0", json!(-0.5)),
        ] {
            assert!(!holds(eq(value), json!({"k": found})), "{value} {found}");
        }
    }

    #[test]
    fn a_missing_field_equals_nothing_and_its_negation_holds() {
        assert!(!holds(eq("null"), json!({})));
        assert!(holds(json!({"not": eq("1")}), json!({})));
    }

    #[test]
    fn a_field_is_a_literal_key_and_not_a_path() {
        let dotted = json!({"eq": {"field": "a.b", "value": "1"}});
        assert!(holds(dotted.clone(), json!({"a.b": 1})));
        assert!(!holds(dotted, json!({"a": {"b": 1}})));
    }

    #[test]
    fn order_is_of_numbers_and_of_strings_by_bytes_and_else_false() {
        assert!(holds(lt("2"), json!({"k": 1.5})) && !holds(lt("1"), json!({"k": 1})));
        assert!(holds(lt("-1"), json!({"k": -1.5})) && holds(gt("-2"), json!({"k": -1.5})));
        assert!(holds(gt("9223372036854775807"), json!({"k": 9223372036854775808_u64})));
        assert!(holds(gt("18446744073709551615"), json!({"k": 1e300})) && holds(lt("0"), json!({"k": -1e300})));
        assert!(holds(lt("\"b\""), json!({"k": "a"})) && holds(gt("\"Z\""), json!({"k": "a"})));
        for found in [json!(null), json!(true), json!("1"), json!([1]), json!({"a": 1})] {
            assert!(!holds(lt("2"), json!({"k": found})) && !holds(gt("0"), json!({"k": found})), "{found}");
        }
        assert!(!holds(lt("true"), json!({"k": false})) && !holds(gt("0"), json!({})));
    }

    #[test]
    fn and_or_and_not_combine_and_empty_ones_have_their_neutral_value() {
        assert!(holds(json!({"and": {}}), json!({})));
        assert!(!holds(json!({"or": {}}), json!({})));
        assert!(holds(json!({"all": {}}), json!({})));
        let both = json!({"and": {"clauses": [gt("1"), lt("5")]}});
        assert!(holds(both.clone(), json!({"k": 3})) && !holds(both, json!({"k": 5})));
        let either = json!({"or": {"clauses": [eq("1"), eq("5")]}});
        assert!(holds(either.clone(), json!({"k": 5})) && !holds(either, json!({"k": 3})));
    }

    #[test]
    fn an_error_names_its_place() {
        let text = |json| query(json).unwrap_err().to_string();
        assert_eq!(text(json!({})), "query has none of eq, lt, gt, and, or, not, all");
        assert_eq!(
            text(json!({"and": {"clauses": [eq("1"), {"eq": {"value": "1"}}]}})),
            "query.and.clauses[1].eq.field is empty"
        );
        assert!(text(json!({"or": {"clauses": [{}]}})).starts_with("query.or.clauses[0] has none"));
        let value = text(json!({"not": gt("vehicle")}));
        assert!(value.starts_with("query.not.gt.value is not valid JSON: ") && value.contains("column"), "{value}");
        assert!(text(eq("")).contains("value is not valid JSON"));
    }

    #[test]
    fn sixteen_nodes_on_a_path_are_allowed_and_seventeen_are_not() {
        let nested = |nodes: usize| (1..nodes).fold(eq("1"), |inner, _| json!({"not": inner}));
        assert!(query(nested(DEEPEST)).is_ok());
        assert_eq!(query(nested(DEEPEST + 1)), Err(QueryError::Depth));
    }
}
