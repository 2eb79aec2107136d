//! Random stories of sessions that sleep, wake, crash, are replaced, ended and revoked, and survive
//! restarts, over a store that is slow, fails, or loses its answers now and then.
//!
//! Every new session's first snapshot is a number, and every later one begins with that. So each
//! backend tells which session it serves and how much it remembers of it, and a wake that mixes
//! sessions up, loses what was acknowledged or runs two backends of one session shows.
//!
//! The model knows what the test did ([`model`]) and what came of it ([`facts`]). Calls run in tasks of
//! their own, and their answers are judged in the order in which they came ([`answers`]); after
//! each step everything the registry did meanwhile must be something the model allows
//! ([`checks`]). In the end, when nothing is in the way any more, every session that was not ended
//! must answer, and no other ([`endings`]).

use proptest::prelude::*;

use super::property::{Check, EVERYONE, OWNERS, pick, someone, tell};
use super::*;

mod answers;
mod checks;
mod endings;
mod facts;
mod model;
mod steps;

use model::Model;
use steps::{conditions, ending, step};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_story_loses_a_session_or_brings_one_back_or_mixes_two_up(
        conditions in conditions(),
        steps in prop::collection::vec(step(), 1..100),
        ending in ending(),
    ) {
        tell(async {
            let mut model = Model::new(conditions);
            for step in steps {
                model.take(step).await?;
            }
            model.finish(ending).await
        })?;
    }
}
