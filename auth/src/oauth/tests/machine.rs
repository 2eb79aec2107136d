//! The refresh tokens of one family against a model.

use proptest::prelude::*;

use super::harness::*;

/// What may happen to a family.
#[derive(Debug, Clone)]
enum Step {
    /// One of its refresh tokens is presented, counted from the newest.
    Present(usize),
    /// Time passes.
    Pass(u64),
    /// It is revoked.
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..4).prop_map(Step::Present),
        3 => prop_oneof![Just(1u64), Just(29), Just(30), Just(59), Just(60), Just(500)]
            .prop_map(Step::Pass),
        1 => Just(Step::Revoke),
    ]
}

/// One generation of the model.
#[derive(Debug)]
struct Generation {
    access: String,
    refresh: String,
    expires: u64,
    used: Option<u64>,
}

const REFRESH_TTL: u64 = 900;
const GRACE: u64 = 60;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens, the family has one newest token, a repeated rotation gives what the first
    /// one gave, and reuse ends everything.
    #[test]
    fn a_family_does_what_its_model_does(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(steps))?;
    }
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let harness = harness_with(config(), 1, |config| {
        config.refresh_ttl = std::time::Duration::from_secs(REFRESH_TTL);
    });
    let (access, refresh) = harness.pair().await;
    let mut line = vec![Generation { access, refresh, expires: REFRESH_TTL, used: None }];
    let (mut now, mut revoked) = (0u64, false);
    for step in steps {
        match step {
            Step::Pass(seconds) => {
                now += seconds;
                harness.pass(seconds);
            }
            Step::Revoke => {
                let first = harness.store_grant_id(&line[0].access).await;
                let Some(grant_id) = first else { continue };
                let was_live = harness.server.revoke_grant(&grant_id, harness.now()).await.unwrap();
                prop_assert_eq!(was_live, !revoked);
                revoked = true;
            }
            Step::Present(back) => {
                let at = line.len().saturating_sub(1 + back);
                let newest = line.len() - 1;
                let own = &line[at];
                let (status, body) = harness.refresh(&own.refresh).await;
                let expired = now >= own.expires;
                let fresh = !revoked && own.used.is_none() && !expired;
                let repeated = !revoked
                    && !expired
                    && at + 1 == newest
                    && own.used.is_some_and(|used| now - used < GRACE);
                if fresh {
                    prop_assert_eq!(status.as_u16(), 200);
                    let (access, refresh) = pair(&body);
                    for other in &line {
                        prop_assert!(other.refresh != refresh && other.access != access);
                    }
                    line[at].used = Some(now);
                    line.push(Generation {
                        access,
                        refresh,
                        expires: now + REFRESH_TTL,
                        used: None,
                    });
                } else if repeated {
                    prop_assert_eq!(status.as_u16(), 200);
                    let next = &line[newest];
                    prop_assert_eq!(pair(&body), (next.access.clone(), next.refresh.clone()));
                } else {
                    prop_assert_eq!(status.as_u16(), 400);
                    prop_assert_eq!(&body["error"], "invalid_grant");
                    revoked |= own.used.is_some();
                }
            }
        }
        let newest = line.last().unwrap();
        let admitted = harness.admit(&newest.access).await.is_ok();
        let born = newest.expires - REFRESH_TTL;
        prop_assert_eq!(admitted, !revoked && now < born + 3600);
        prop_assert_eq!(harness.heard(), usize::from(revoked));
    }
    Ok(())
}
