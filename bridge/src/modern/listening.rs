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
use crate::{message::Message, rpc};

/// The first message of the subscription with the raw id `id`; `notifications` is what the client will
/// hear of, raw.
#[must_use]
pub fn acknowledged(id: &str, notifications: &str) -> Bytes {
    let params = with("{}", &[("_meta", &named("{}", id)), ("notifications", notifications)]);
    rpc::own(None, "notifications/subscriptions/acknowledged", Some(&params)).into()
}

/// A notification of the child, on the subscription with the raw id `id`. What a child puts in the place
/// of `_meta` and is no object gives way.
#[must_use]
pub fn told(id: &str, notification: &Message) -> Bytes {
    let params = notification.payload().unwrap_or("{}");
    let meta = members(params).get("_meta").map_or("{}", |meta| meta.get());
    let params = with(params, &[("_meta", &named(meta, id))]);
    rpc::call(None, notification, Some(&[&params])).into()
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
            let line = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"_meta":{meta},"uri":"a:"}}}}"#
            );
            let message = Message::from_child(line.into()).expect("a message");
            let params = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":1},"uri":"a:"}"#;
            assert!(text(told("1", &message)).ends_with(&format!("{params}}}")), "{meta}");
        }
        let bare = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let bare = text(told(r#""a""#, &Message::from_child(bare.into()).expect("a message")));
        assert!(bare.contains(r#"{"io.modelcontextprotocol/subscriptionId":"a"}"#), "{bare}");
    }

    #[test]
    fn numbers_that_no_machine_type_holds_stay_as_they_are() {
        let big = "123456789012345678901234567890";
        for id in [big, "1e3", "1E400", "-0", r#""\u00e9""#] {
            let named = format!(r#""io.modelcontextprotocol/subscriptionId":{id}"#);
            assert!(text(acknowledged(id, "{}")).contains(&named), "{id}");
            assert!(ended(id).contains(&named), "{id}");
            let line = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"n":{big}}},"f":1.50}}}}"#
            );
            let told = text(told(id, &Message::from_child(line.into()).expect("a message")));
            assert!(told.contains(&named), "{told}");
            assert!(told.contains(&format!(r#""n":{big}"#)) && told.contains("1.50"), "{told}");
        }
    }
}
