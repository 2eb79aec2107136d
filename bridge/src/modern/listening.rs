//! What is said on a `subscriptions/listen` that the broker serves in the place of a child of the legacy
//! era (MCP 2026-07-28, "Subscriptions").
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
