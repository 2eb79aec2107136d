//! Taking backends away while their sessions go on.

use crate::backend::Backend;
use crate::registry::Registry;
use crate::registry::listing::View;
use crate::replacement::Replacement;

impl<A, B, E> Registry<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Has the backends of those sessions replaced, or only taken away, that satisfy `which`, and
    /// says how many. Sessions that cannot sleep are passed over: they are the caller's to end.
    ///
    /// One that is idle is replaced at once, one in use as `how` says; a request that comes while
    /// it has no backend waits for the new one. `which` runs without any lock held.
    pub fn replace(&self, which: impl Fn(&View<'_, B>) -> bool, how: Replacement) -> usize {
        let entries = self.shared.table.select(|_| true);
        let meant = entries.iter().filter(|entry| View::of(entry).is_some_and(|view| which(&view)));
        meant.filter(|entry| entry.replace(how)).count()
    }
}
