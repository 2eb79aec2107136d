//! What is said on a `subscriptions/listen`, most of which the broker serves in the place of a child of the
//! legacy era (MCP 2026-07-28, "Subscriptions").
//!
//! Each message names the subscription, by the id of the client's request, byte for byte: a number that
//! was read and written again may be another one.

use bytes::Bytes;

use super::{
    SUBSCRIPTION,
    object::{members, with},
};
use crate::rpc;

/// The first message of the subscription with the raw id `id`; `notifications` is what the client will
/// hear of, raw.
#[must_use]
pub fn acknowledged(id: &str, notifications: &str) -> Bytes {
    let params = with("{}", &[("notifications", notifications)]);
    told(id, "notifications/subscriptions/acknowledged", &params)
}

/// A notification with these raw parameters on the subscription with the raw id `id`. What a child puts in
/// the place of `_meta` and is no object gives way.
#[must_use]
pub fn told(id: &str, method: &str, params: &str) -> Bytes {
    let meta = members(params).get("_meta").map_or("{}", |meta| meta.get());
    let params = with(params, &[("_meta", &named(meta, id))]);
    rpc::own(None, method, Some(&params)).into()
}

/// The result, raw, with which the subscription with the raw id `id` ends when no side has given it up.
#[must_use]
pub fn ended(id: &str) -> String {
    format!(r#"{{"resultType":"complete","_meta":{}}}"#, named("{}", id))
}

/// The result, raw, with which a child ends it, for the client whose raw id is `id`: the child calls the
/// subscription by the id of its own request. One that names none is given the name, which is required.
#[must_use]
pub fn ended_by_child(id: &str, result: &str) -> String {
    let meta = members(result).get("_meta").map_or("{}", |meta| meta.get());
    with(result, &[("_meta", &named(meta, id))])
}

/// `meta` with the name of the subscription.
fn named(meta: &str, id: &str) -> String {
    with(meta, &[(SUBSCRIPTION, id)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: Bytes) -> String {
        String::from_utf8(message.into()).expect("text")
    }

    #[test]
    fn a_notification_whose_meta_is_no_object_is_told_all_the_same() {
        for meta in ["5", r#""x""#, "[1]", "null", "true"] {
            let params = format!(r#"{{"_meta":{meta},"uri":"a:"}}"#);
            let expected = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":1},"uri":"a:"}"#;
            let told = text(told("1", "notifications/resources/updated", &params));
            assert!(told.ends_with(&format!("{expected}}}")), "{told}");
        }
    }

    #[test]
    fn the_end_that_a_child_tells_of_names_the_subscription_as_its_client_does() {
        let said = |meta: &str| format!(r#"{{"resultType":"complete","_meta":{meta}}}"#);
        let named = |meta: &str| format!(r#"{{"_meta":{meta},"resultType":"complete"}}"#);
        let own = r#"{"io.modelcontextprotocol/subscriptionId":25,"a":1.50}"#;
        let clients = r#"{"a":1.50,"io.modelcontextprotocol/subscriptionId":"L"}"#;
        assert_eq!(ended_by_child(r#""L""#, &said(own)), named(clients));
        let bare = r#"{"io.modelcontextprotocol/subscriptionId":"L"}"#;
        assert_eq!(ended_by_child(r#""L""#, &said("null")), named(bare));
        assert!(ended_by_child(r#""L""#, "{}").contains(bare));
    }

    #[test]
    fn numbers_that_no_machine_type_holds_stay_as_they_are() {
        let big = "123456789012345678901234567890";
        for id in [big, "1e3", "1E400", "-0", r#""\u00e9""#] {
            let named = format!(r#""io.modelcontextprotocol/subscriptionId":{id}"#);
            assert!(text(acknowledged(id, "{}")).contains(&named), "{id}");
            assert!(ended(id).contains(&named), "{id}");
            let params = format!(r#"{{"_meta":{{"n":{big}}},"f":1.50}}"#);
            let told = text(told(id, "notifications/tools/list_changed", &params));
            assert!(told.contains(&named), "{told}");
            assert!(told.contains(&format!(r#""n":{big}"#)) && told.contains("1.50"), "{told}");
        }
    }
}
