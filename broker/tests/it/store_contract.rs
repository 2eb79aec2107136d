//! The store passes what every store has to pass.

use std::sync::Arc;

use auth::testing::store_contract;

use broker::store::Store;

use crate::rig::story;

#[test]
fn the_store_passes_the_contract_of_the_authorization_server() {
    story(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).await.unwrap());
        store_contract(store).await;
    });
}
