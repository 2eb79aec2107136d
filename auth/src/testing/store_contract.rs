//! What every store has to pass.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    grants_contract::{grants, many_grants},
    now,
    people_contract::people,
    records::{
        GRACE, HOUR, MINUTE, RACERS, client, hash, issue, issue_to, no, race, request, rotation,
        sign_in, token, user,
    },
};
use crate::{
    UnixTime,
    oauth::{
        AuthStore, Browser, CLIENT_MEMORY, CODE_GRACE, CODE_MEMORY, Client, Consent, Origin,
        Purpose, Redeemed, Registered, Rotated, Transaction, TransactionKey, User,
    },
};

/// What holds for every store; `store` is empty. The rules stand in the documentation of
/// [`AuthStore`]; this plays them through, the atomic ones with 50 calls at once. It needs a
/// runtime with several threads to race for real.
///
/// # Panics
///
/// When one of them does not hold; the message says which.
pub async fn store_contract(store: Arc<dyn AuthStore>) {
    let now = UnixTime::of(now());
    clients(&*store, now).await;
    sign_ins(&store, now).await;
    too_many_sign_ins(&*store, now).await;
    codes(&store, now).await;
    refresh_tokens(&store, now).await;
    grants(&*store, now).await;
    many_grants(&*store, now).await;
    people(&*store, now).await;
    consents_and_browsers(&*store, now).await;
    renaming(&*store, now).await;
    sweeping(&*store, now).await;
    forgetting_clients(&*store, now).await;
}

async fn clients(store: &dyn AuthStore, now: UnixTime) {
    let day = now.plus(24 * HOUR);
    let first = client("contract-client", Some(day), now);
    let print = Some(hash("a fingerprint"));
    let registered = store.register_client(first.clone(), print, 100, now).await.unwrap_or_else(no);
    assert_eq!(registered, Registered::New);
    let found = store.client("contract-client", now).await.unwrap_or_else(no);
    assert_eq!(found.as_ref(), Some(&first), "a client comes back as it was given");
    assert_eq!(store.client("CONTRACT-CLIENT", now).await.unwrap_or_else(no), None, "case counts");

    let later = now.plus(HOUR);
    let second = client("contract-again", Some(later.plus(24 * HOUR)), later);
    let known = store.register_client(second, print, 100, later).await.unwrap_or_else(no);
    let Registered::Known(known) = known else { panic!("the same client is added twice") };
    assert_eq!(known.id, first.id);
    assert_eq!(known.unused_until, Some(later.plus(24 * HOUR)), "its unused time is prolonged");
    assert_eq!(store.client("contract-again", later).await.unwrap_or_else(no), None);
    let other = client("contract-full", Some(day), now);
    let full = store.register_client(other.clone(), None, 0, now).await.unwrap_or_else(no);
    assert_eq!(full, Registered::Full, "unused clients are bounded");
    let known = store.has_fingerprint(&hash("a fingerprint"), now).await.unwrap_or_else(no);
    assert!(known, "it would be found");
    let never = store.has_fingerprint(&hash("another fingerprint"), now).await.unwrap_or_else(no);
    assert!(!never);
    let room = store.register_client(other, None, 1, now).await.unwrap_or_else(no);
    assert_eq!(room, Registered::New, "a flood keeps nobody out");
    let oldest = store.client("contract-client", now).await.unwrap_or_else(no);
    assert_eq!(oldest, None, "and the one that would go first makes room");
    let again = store.register_client(first.clone(), print, 1, now).await.unwrap_or_else(no);
    assert_eq!(again, Registered::New, "its fingerprint went with it");
    assert_eq!(store.client("contract-full", now).await.unwrap_or_else(no), None);
    let gone = store.client("contract-client", now.plus(26 * HOUR)).await.unwrap_or_else(no);
    assert_eq!(gone, None, "an unused client is forgotten");
    let later = now.plus(26 * HOUR);
    let over = store.has_fingerprint(&hash("a fingerprint"), later).await.unwrap_or_else(no);
    assert!(!over, "and so is its fingerprint");

    let fixed = client("contract-fixed", None, now);
    store.register_client(fixed, None, 0, now).await.unwrap_or_else(no);
    confidential_clients(store, now).await;
    let all = store.clients("", 10).await.unwrap_or_else(no);
    let ids: Vec<_> = all.iter().map(|own| own.id.as_str()).collect();
    assert_eq!(ids, ["contract-client", "contract-fixed"], "clients come in order");
    let rest = store.clients("contract-client", 1).await.unwrap_or_else(no);
    assert_eq!(rest.len(), 1, "listing goes on after an identifier");
}

async fn confidential_clients(store: &dyn AuthStore, now: UnixTime) {
    let has_one = async || store.has_confidential_client().await.unwrap_or_else(no);
    assert!(!has_one().await, "a client that registered itself is none of the operator's");
    let public =
        Client { origin: Origin::Operator, secret: None, ..client("contract-operator", None, now) };
    let confidential = Client { secret: Some(hash("its secret")), ..public.clone() };
    for (client, expected) in [(public, false), (confidential, true)] {
        store.register_client(client, None, 0, now).await.unwrap_or_else(no);
        assert_eq!(has_one().await, expected);
        store.remove_client("contract-operator", now).await.unwrap_or_else(no);
        assert!(!has_one().await, "it is gone");
    }
}

async fn sign_ins(store: &Arc<dyn AuthStore>, now: UnixTime) {
    let transaction = |name: &str| Transaction {
        handle: hash(name),
        purpose: Purpose::Authorize(Box::new(request("contract-client"))),
        binding: None,
        upstream: None,
        peer: peer("192.0.2.1"),
        expires: now.plus(10 * MINUTE),
    };
    let full = store.open_transaction(transaction("t-full"), 0, now).await.unwrap_or_else(no);
    assert!(!full, "sign-ins under way are bounded");
    assert!(store.open_transaction(transaction("t"), 10, now).await.unwrap_or_else(no));
    let mut first = transaction("t-first");
    first.expires = now.plus(9 * MINUTE);
    assert!(store.open_transaction(first, 2, now).await.unwrap_or_else(no));
    assert!(store.open_transaction(transaction("t-last"), 2, now).await.unwrap_or_else(no));
    let is_there = async |name| store.transaction(&hash(name), now).await.unwrap_or_else(no);
    assert_eq!(is_there("t-first").await, None, "what ends first makes room");
    assert!(is_there("t-last").await.is_some(), "a flood keeps nobody out");
    let handle = hash("t");
    let found = store.transaction(&handle, now).await.unwrap_or_else(no);
    assert_eq!(found, Some(transaction("t")), "a sign-in comes back as it was given");
    let early = store.begin_upstream(&handle, "fake", hash("state"), now).await.unwrap_or_else(no);
    assert!(!early, "nothing is begun before the approval");

    let approve = |n| {
        let store = Arc::clone(store);
        async move {
            let binding = hash(&format!("binding-{n}"));
            store.approve_transaction(&hash("t"), binding, now).await.unwrap_or_else(no)
        }
    };
    let approved = race(approve).await.into_iter().filter(|own| *own).count();
    assert_eq!(approved, 1, "one browser approves");

    for state in ["state-1", "state-2"] {
        let begun = store.begin_upstream(&handle, "fake", hash(state), now).await;
        assert!(begun.unwrap_or_else(no));
    }
    let stale = hash("state-1");
    let stale = store.take_transaction(TransactionKey::State(&stale), now).await;
    assert_eq!(stale.unwrap_or_else(no), None, "a newer upstream sign-in replaces an older one");
    let take = |_| {
        let store = Arc::clone(store);
        async move {
            let state = hash("state-2");
            store.take_transaction(TransactionKey::State(&state), now).await.unwrap_or_else(no)
        }
    };
    let taken = race(take).await.into_iter().flatten().count();
    assert_eq!(taken, 1, "a state serves once");
    assert_eq!(store.transaction(&handle, now).await.unwrap_or_else(no), None);

    assert!(store.open_transaction(transaction("late"), 10, now).await.unwrap_or_else(no));
    let late = now.plus(10 * MINUTE);
    assert_eq!(store.transaction(&hash("late"), late).await.unwrap_or_else(no), None);
    let approved = store.approve_transaction(&hash("late"), hash("b"), late).await;
    assert!(!approved.unwrap_or_else(no), "too late to approve");
    let late_hash = hash("late");
    let taken = store.take_transaction(TransactionKey::Handle(&late_hash), late).await;
    assert_eq!(taken.unwrap_or_else(no), None, "too late to take");
}

fn peer(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Leaves nothing open.
async fn too_many_sign_ins(store: &dyn AuthStore, now: UnixTime) {
    const MAX: usize = 8;
    let end = now.plus(20 * MINUTE);
    store.sweep(end, 1000).await.unwrap_or_else(no);
    let open = async |name: &str, from: &str, minutes: u32| {
        let transaction = Transaction {
            handle: hash(name),
            purpose: Purpose::Page("/account".into()),
            binding: None,
            upstream: None,
            peer: peer(from),
            expires: end.plus(minutes * MINUTE),
        };
        assert!(store.open_transaction(transaction, MAX, end).await.unwrap_or_else(no));
    };
    let is_there =
        async |name: &str| store.transaction(&hash(name), end).await.unwrap_or_else(no).is_some();
    open("many-approved", "192.0.2.1", 1).await;
    let binding = hash("many-binding");
    assert!(
        store.approve_transaction(&hash("many-approved"), binding, end).await.unwrap_or_else(no)
    );
    open("many-page", "2001:db8:1::", 2).await;
    for n in 0..6 {
        open(&format!("many-flood-{n}"), "203.0.113.7", 5 + n).await;
    }
    // It is full now.
    open("many-flood-6", "203.0.113.7", 20).await;
    assert!(!is_there("many-flood-0").await, "who opens many loses the own ones");
    open("many-new", "198.51.100.1", 3).await;
    assert!(!is_there("many-flood-1").await, "for others goes one of the peer with the most");
    for name in ["many-approved", "many-page", "many-new"] {
        assert!(is_there(name).await, "{name} stays, though it ends first");
    }
    for n in 0..20 {
        open(&format!("many-other-{n}"), &format!("198.51.100.{}", 10 + n), 30).await;
    }
    assert!(is_there("many-approved").await, "what a browser approved goes last");
    store.sweep(end.plus(100 * MINUTE), 1000).await.unwrap_or_else(no);
}

async fn codes(store: &Arc<dyn AuthStore>, now: UnixTime) {
    let code = issue(&**store, "code", "ada", now).await;
    assert_eq!(store.code(&code.hash).await.unwrap_or_else(no), Some(code.clone()));
    let redeem = |n| {
        let (store, code) = (Arc::clone(store), code.hash);
        async move {
            let access = token(&format!("race-access-{n}"), now.plus(HOUR));
            let refresh = Some(token(&format!("race-refresh-{n}"), now.plus(HOUR)));
            store.redeem_code(&code, access, refresh, now).await.unwrap_or_else(no)
        }
    };
    let outcomes = race(redeem).await;
    let fresh = outcomes.iter().filter(|own| matches!(own, Redeemed::Fresh(_))).count();
    assert_eq!(fresh, 1, "exactly one redemption wins");
    let repeated = outcomes.iter().filter(|own| **own == Redeemed::Repeated).count();
    assert_eq!(repeated, usize::from(RACERS) - 1, "the others change nothing");
    let mut tokens = 0;
    for n in 0..RACERS {
        let access = hash(&format!("race-access-{n}"));
        if let Some(found) = store.access_token(&access).await.unwrap_or_else(no) {
            tokens += 1;
            assert!(found.grant.revoked.is_none(), "the winner's tokens are good");
        }
    }
    assert_eq!(tokens, 1, "a lost redemption leaves no token behind");
    let again = async |now: UnixTime| {
        let access = token("race-again", now.plus(HOUR));
        store.redeem_code(&code.hash, access, None, now).await.unwrap_or_else(no)
    };
    let last = now.plus(CODE_GRACE - Duration::from_secs(1));
    assert_eq!(again(last).await, Redeemed::Repeated, "to the last second of the grace");
    let late = again(now.plus(CODE_GRACE)).await;
    let Redeemed::Replayed(Some(revoked)) = late else { panic!("a late replay gave {late:?}") };
    assert_eq!(revoked.grant_id, code.grant_id, "a late replay revokes");
    let later = again(now.plus(CODE_GRACE)).await;
    assert_eq!(later, Redeemed::Replayed(None), "once");
    let set_back = sign_in(&**store, "set-back", "ada", now).await;
    let access = token("set-back-again", now.plus(HOUR));
    let back = UnixTime(now.0 - 3600);
    let back = store.redeem_code(&hash("set-back"), access, None, back).await.unwrap_or_else(no);
    let Redeemed::Replayed(Some(revoked)) = back else { panic!("a clock set back: {back:?}") };
    assert_eq!(revoked.grant_id, set_back, "a clock that was set back reopens no grace");
    let used = store.client("contract-client", now.plus(1000 * HOUR)).await.unwrap_or_else(no);
    assert!(
        used.is_some_and(|own| own.unused_until.is_none()),
        "a redeemed code ends the unused time"
    );

    let burned = issue(&**store, "burned", "ada", now).await;
    assert_eq!(store.burn_code(&burned.hash, now).await.unwrap_or_else(no), None);
    let access = token("burned-access", now.plus(HOUR));
    let outcome = store.redeem_code(&burned.hash, access, None, now).await.unwrap_or_else(no);
    assert_eq!(outcome, Redeemed::Gone, "a burned code is gone");

    let late = issue(&**store, "late-code", "ada", now).await;
    let access = token("late-access", now.plus(HOUR));
    let then = now.plus(MINUTE);
    let outcome = store.redeem_code(&late.hash, access, None, then).await.unwrap_or_else(no);
    assert_eq!(outcome, Redeemed::Gone, "a code past its time is gone");
    let never = store.redeem_code(&hash("never"), token("x", then), None, now).await;
    assert_eq!(never.unwrap_or_else(no), Redeemed::Gone);

    let grant_id = sign_in(&**store, "replayed", "ada", now).await;
    let revoked = store.burn_code(&hash("replayed"), now).await.unwrap_or_else(no);
    assert_eq!(revoked.map(|own| own.grant_id), Some(grant_id), "a wrong replay revokes as well");
}

async fn refresh_tokens(store: &Arc<dyn AuthStore>, now: UnixTime) {
    let grant_id = sign_in(&**store, "r", "ada", now).await;
    let rotate = |n| {
        let store = Arc::clone(store);
        async move {
            let rotation = rotation("r-refresh", "r1", n, now);
            (n, store.rotate_refresh(rotation, now).await.unwrap_or_else(no))
        }
    };
    let outcomes = race(rotate).await;
    let winners: Vec<u8> = outcomes
        .iter()
        .filter(|(_, own)| matches!(own, Rotated::Fresh(_)))
        .map(|(n, _)| *n)
        .collect();
    let [winner] = winners[..] else { panic!("{} rotations won", winners.len()) };
    let expected = rotation("r-refresh", "r1", winner, now);
    for (n, outcome) in outcomes.iter().filter(|(n, _)| *n != winner) {
        let Rotated::Repeated(repeat) = outcome else { panic!("{n} got {outcome:?}") };
        assert_eq!(repeat.salt, expected.salt, "everybody gets the winner's salt");
        assert_eq!((&repeat.access, &repeat.refresh), (&expected.access, &expected.refresh));
        assert_eq!(repeat.scope, expected.scope);
        let stray = store.refresh_token(&hash(&format!("r1-{n}"))).await.unwrap_or_else(no);
        assert_eq!(stray, None, "a lost rotation leaves no token behind");
    }
    let found = store.refresh_token(&hash("r-refresh")).await.unwrap_or_else(no);
    assert_eq!(found.map(|own| own.used), Some(Some(now)), "its use is marked");
    let access = store.access_token(&expected.access.hash).await.unwrap_or_else(no);
    assert_eq!(access.map(|own| own.scope).as_deref(), Some("mcp:read"), "narrowed scopes stay");

    let last = now.plus(GRACE - Duration::from_secs(1));
    let again = rotation("r-refresh", "r1", 99, last);
    let again = store.rotate_refresh(again, last).await.unwrap_or_else(no);
    assert!(matches!(again, Rotated::Repeated(_)), "the window is open to its last second");
    let after = now.plus(GRACE);
    let late = rotation("r-refresh", "r1", 99, after);
    let late = store.rotate_refresh(late, after).await.unwrap_or_else(no);
    let Rotated::Reused(Some(grant)) = late else { panic!("reuse after grace gave {late:?}") };
    assert_eq!((grant.grant_id, grant.revoked), (grant_id, Some(after)));
    let head = rotation(&format!("r1-{winner}"), "r2", 1, after);
    let head = store.rotate_refresh(head, after).await.unwrap_or_else(no);
    assert_eq!(head, Rotated::Gone, "the newest token of a revoked family is dead");
    let access = store.access_token(&expected.access.hash).await.unwrap_or_else(no);
    assert!(access.is_some_and(|own| own.grant.revoked.is_some()), "and so are access tokens");

    sign_in(&**store, "g", "ada", now).await;
    for (from, to) in [("g-refresh", "g1"), ("g1-1", "g2"), ("g2-1", "g3")] {
        let fresh = store.rotate_refresh(rotation(from, to, 1, now), now).await.unwrap_or_else(no);
        assert!(matches!(fresh, Rotated::Fresh(_)), "{from}: {fresh:?}");
    }
    let old = store.rotate_refresh(rotation("g-refresh", "g1", 2, now), now).await;
    let old = old.unwrap_or_else(no);
    assert!(matches!(old, Rotated::Reused(Some(_))), "grace is for the predecessor: {old:?}");

    sign_in(&**store, "e", "ada", now).await;
    let end = now.plus(24 * HOUR);
    let early = UnixTime(end.0 - 1);
    let fresh = store.rotate_refresh(rotation("e-refresh", "e1", 1, early), early).await;
    assert!(matches!(fresh.unwrap_or_else(no), Rotated::Fresh(_)));
    let expired = store.rotate_refresh(rotation("e-refresh", "e1", 2, end), end).await;
    let expired = expired.unwrap_or_else(no);
    assert!(matches!(expired, Rotated::Reused(_)), "grace does not outlive a token");

    sign_in(&**store, "c", "ada", now).await;
    store.rotate_refresh(rotation("c-refresh", "c1", 1, now), now).await.unwrap_or_else(no);
    let back = UnixTime(now.0 - 3600);
    let back = store.rotate_refresh(rotation("c-refresh", "c1", 2, back), back).await;
    let back = back.unwrap_or_else(no);
    assert!(matches!(back, Rotated::Reused(_)), "a clock set back reopens nothing: {back:?}");
    let never = store.rotate_refresh(rotation("never", "n", 1, now), now).await.unwrap_or_else(no);
    assert_eq!(never, Rotated::Gone);
}

async fn consents_and_browsers(store: &dyn AuthStore, now: UnixTime) {
    issue(store, "consent", "eve", now).await;
    let asked = Consent::of(&user("eve"), &request("contract-client"), now);
    assert!(store.is_consented(&asked).await.unwrap_or_else(no));
    let variants: [fn(&mut Consent); 6] = [
        |own| own.subject = "ada2".into(),
        |own| own.issuer = "https://other.example".into(),
        |own| own.client = "another".into(),
        |own| own.redirect_uri.push('/'),
        |own| own.scope = "mcp:read mcp:admin".into(),
        |own| own.resource.push_str("/x"),
    ];
    for change in variants {
        let mut other = asked.clone();
        change(&mut other);
        let consented = store.is_consented(&other).await.unwrap_or_else(no);
        assert!(!consented, "{other:?} was never approved");
    }
    let gave = async |subject: &str, client: &str, address: &str| {
        store.has_consented(&user(subject), client, address).await.unwrap_or_else(no)
    };
    assert!(gave("eve", &asked.client, &asked.redirect_uri).await, "whatever it was for");
    assert!(!gave("ada2", &asked.client, &asked.redirect_uri).await);
    assert!(!gave("eve", "another", &asked.redirect_uri).await);
    assert!(!gave("eve", &asked.client, "https://client.example/other").await);
    let less = Consent { scope: "mcp:call".into(), ..asked.clone() };
    assert!(store.is_consented(&less).await.unwrap_or_else(no), "less was approved with it");
    store.forget_consents(&user("eve"), "contract-client").await.unwrap_or_else(no);
    assert!(!store.is_consented(&asked).await.unwrap_or_else(no));

    let browser = Browser { cookie: hash("cookie"), user: user("eve"), expires: now.plus(HOUR) };
    store.open_browser(browser.clone()).await.unwrap_or_else(no);
    let found = store.browser(&hash("cookie"), now).await.unwrap_or_else(no);
    assert_eq!(found, Some(browser));
    let late = store.browser(&hash("cookie"), now.plus(HOUR)).await.unwrap_or_else(no);
    assert_eq!(late, None, "a sign-in ends");
    store.close_browser(&hash("cookie")).await.unwrap_or_else(no);
    assert_eq!(store.browser(&hash("cookie"), now).await.unwrap_or_else(no), None);
}

async fn renaming(store: &dyn AuthStore, now: UnixTime) {
    let grant_id = sign_in(store, "renaming", "rita", now).await;
    let pending = issue(store, "renaming-pending", "rita", now).await;
    let browser = |name: &str, provider: &str| Browser {
        cookie: hash(name),
        user: User { provider: provider.into(), ..user("rita") },
        expires: now.plus(HOUR),
    };
    for own in [browser("renaming-1", "fake"), browser("renaming-2", "other")] {
        store.open_browser(own).await.unwrap_or_else(no);
    }
    assert!(store.rename_provider("fake", "work").await.unwrap_or_else(no) >= 3);
    let of_rita =
        store.grants_of("https://forge.example", "rita", None, 9).await.unwrap_or_else(no);
    let found: Vec<_> = of_rita.iter().map(|own| (&own.grant_id, &*own.user.provider)).collect();
    assert_eq!(found, [(&grant_id, "work")], "a grant follows its provider's name");
    let code = store.code(&pending.hash).await.unwrap_or_else(no).expect("not swept");
    assert_eq!(code.user.provider, "work", "and so does a code");
    for (name, provider) in [("renaming-1", "work"), ("renaming-2", "other")] {
        let found = store.browser(&hash(name), now).await.unwrap_or_else(no);
        assert_eq!(found.map(|own| own.user.provider).as_deref(), Some(provider), "{name}");
        store.close_browser(&hash(name)).await.unwrap_or_else(no);
    }
    let again = store.rename_provider("fake", "work").await.unwrap_or_else(no);
    assert_eq!(again, 0, "once");
    store.rename_provider("work", "fake").await.unwrap_or_else(no);
}

async fn sweep_all(store: &dyn AuthStore, now: UnixTime) -> usize {
    let mut total = 0;
    loop {
        let swept = store.sweep(now, 3).await.unwrap_or_else(no);
        assert!(swept <= 3, "a sweep is bounded");
        total += swept;
        if swept < 3 {
            return total;
        }
    }
}

async fn sweeping(store: &dyn AuthStore, now: UnixTime) {
    let kept = sign_in(store, "kept", "ada", now.plus(24 * HOUR)).await;
    let then = now.plus(25 * HOUR).plus(CODE_MEMORY);
    let total = sweep_all(store, then).await;
    assert!(total > 10, "what has served its time goes, {total} records");
    let kept_token = store.refresh_token(&hash("kept-refresh")).await.unwrap_or_else(no);
    assert_eq!(kept_token.map(|own| own.grant.grant_id), Some(kept), "what is good stays");
    assert_eq!(store.code(&hash("code")).await.unwrap_or_else(no), None);
    assert_eq!(store.access_token(&hash("a1-access")).await.unwrap_or_else(no), None);
}

async fn forgetting_clients(store: &dyn AuthStore, now: UnixTime) {
    let day = now.plus(24 * HOUR);
    let by_hand = Client { origin: Origin::Operator, ..client("forget-by-hand", None, now) };
    let all = [
        (client("forget-idle", Some(day), now), now.plus(24 * HOUR)),
        (client("forget-busy", Some(day), now), now.plus(2 * CLIENT_MEMORY)),
        (by_hand, now.plus(24 * HOUR)),
    ];
    let used = now.plus(HOUR);
    for (client, until) in all {
        let id = client.id.clone();
        store.register_client(client, None, 100, now).await.unwrap_or_else(no);
        let code = issue_to(store, &id, &id, "ada", used).await;
        let access = token(&format!("{id}-access"), used.plus(HOUR));
        let refresh = Some(token(&format!("{id}-refresh"), until));
        let redeemed = store.redeem_code(&code.hash, access, refresh, used).await;
        assert!(matches!(redeemed, Ok(Redeemed::Fresh(_))), "{redeemed:?}");
    }
    let left = async |then: UnixTime| {
        sweep_all(store, then).await;
        let all = store.clients("forget-", 9).await.unwrap_or_else(no).into_iter();
        let all = all.filter(|own| own.id.starts_with("forget-"));
        all.map(|own| own.id).collect::<Vec<_>>()
    };
    let end = used.plus(CLIENT_MEMORY);
    let all = left(UnixTime(end.0 - 1)).await;
    assert_eq!(all, ["forget-busy", "forget-by-hand", "forget-idle"], "clients in use are kept");
    let some = left(end).await;
    assert_eq!(
        some,
        ["forget-busy", "forget-by-hand"],
        "one that registered itself is forgotten when it was not used for long; one with a grant, \
         or that the operator added, is not"
    );
}
