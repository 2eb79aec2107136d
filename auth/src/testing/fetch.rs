//! A fake web, and the handle that fills it.

use std::{
    collections::HashMap,
    fmt,
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

#[derive(Default)]
struct Web {
    pages: HashMap<String, Page>,
    asked: Vec<Request<Bytes>>,
}

type Serve = Arc<dyn Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync>;

/// What is behind an address.
#[derive(Clone)]
enum Page {
    Fixed(Response<Bytes>),
    Served(Serve),
    Broken(fn() -> FetchError),
}

/// Requests carry secrets, so that even the fake shows none in `Debug`.
impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("pages", &self.pages.keys())
            .field("asked", &self.asked.len())
            .finish()
    }
}

fn web(shared: &Shared) -> MutexGuard<'_, Web> {
    shared.web.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FetchHandle {
    /// From now on `address` answers like this.
    pub fn put(&self, address: &str, response: Response<Bytes>) {
        self.place(address, Page::Fixed(response));
    }

    /// From now on `address` answers what `serve` makes of each request.
    pub fn serve(
        &self,
        address: &str,
        serve: impl Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        self.place(address, Page::Served(Arc::new(serve)));
    }

    /// From now on asking for `address` fails like this.
    pub fn fail(&self, address: &str, failure: fn() -> FetchError) {
        self.place(address, Page::Broken(failure));
    }

    fn place(&self, address: &str, page: Page) {
        web(&self.shared).pages.insert(address.to_owned(), page);
    }

    /// From now on `address` cannot be reached.
    pub fn remove(&self, address: &str) {
        web(&self.shared).pages.remove(address);
    }

    /// Every address that was asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        web(&self.shared).asked.iter().map(|request| request.uri().to_string()).collect()
    }

    /// Every request that was made, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request<Bytes>> {
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
            web(&self.shared).asked.push(request.clone());
            let _pass = self.shared.gate.acquire().await.map_err(FetchError::from_display)?;
            let page = web(&self.shared).pages.get(&address).cloned();
            let page = match page {
                None => return Err(FetchError::Failed("no such page".into())),
                Some(Page::Broken(failure)) => return Err(failure()),
                Some(Page::Fixed(response)) => response,
                Some(Page::Served(serve)) => serve(&request),
            };
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
