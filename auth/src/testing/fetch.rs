//! A fake web, and the handle that fills it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::Semaphore;

use crate::{
    BoxFuture,
    oauth::{Fetch, FetchError, FetchLimits},
};

/// A web without any page, and the handle that fills it.
#[must_use]
pub fn fetch() -> (Arc<FakeFetch>, FetchHandle) {
    let shared = Arc::new(Shared {
        web: Mutex::default(),
        gate: Semaphore::new(Semaphore::MAX_PERMITS >> 1),
    });
    (Arc::new(FakeFetch { shared: Arc::clone(&shared) }), FetchHandle { shared })
}

/// Answers from what its [`FetchHandle`] put there.
#[derive(Debug)]
pub struct FakeFetch {
    shared: Arc<Shared>,
}

/// Fills and drives a [`FakeFetch`].
#[derive(Debug)]
pub struct FetchHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    web: Mutex<Web>,
    gate: Semaphore,
}

#[derive(Debug, Default)]
struct Web {
    pages: HashMap<String, Response<Bytes>>,
    asked: Vec<String>,
}

fn web(shared: &Shared) -> MutexGuard<'_, Web> {
    shared.web.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FetchHandle {
    /// From now on `address` answers like this.
    pub fn put(&self, address: &str, response: Response<Bytes>) {
        web(&self.shared).pages.insert(address.to_owned(), response);
    }

    /// From now on `address` cannot be reached.
    pub fn remove(&self, address: &str) {
        web(&self.shared).pages.remove(address);
    }

    /// Every address that was asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        web(&self.shared).asked.clone()
    }

    /// From now on answers wait until [`open`](Self::open).
    pub fn close(&self) {
        self.shared.gate.forget_permits(self.shared.gate.available_permits());
    }

    /// Ends a [`close`](Self::close).
    pub fn open(&self) {
        self.shared.gate.add_permits(Semaphore::MAX_PERMITS >> 1);
    }
}

impl Fetch for FakeFetch {
    fn fetch<'a>(
        &'a self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> BoxFuture<'a, Result<Response<Bytes>, FetchError>> {
        Box::pin(async move {
            let address = request.uri().to_string();
            web(&self.shared).asked.push(address.clone());
            let _pass = self.shared.gate.acquire().await.map_err(FetchError::from_display)?;
            let page = web(&self.shared).pages.get(&address).cloned();
            let page = page.ok_or_else(|| FetchError::Failed("no such page".into()))?;
            if page.body().len() > limits.max_bytes {
                return Err(FetchError::TooLong);
            }
            Ok(page)
        })
    }
}

impl FetchError {
    fn from_display(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed(Box::new(error))
    }
}
