//! Bytes are a row or an error; a row's document is one or an error.

use peat_node_core::Stored;
use peat_node_core::docs::row::View;
use peat_node_core::ids::{Collection, Key};

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let collection = Collection::parse("ferries").expect("a name");
    let key = Key::new(&collection, "one").expect("a key");
    let started = Stored::read(key, bytes).is_ok();
    let view = View::parse(bytes);
    assert_eq!(started, view.is_ok(), "a start and a reader see the same");
    if let Ok(view) = view
        && let Ok(document) = view.document()
    {
        assert_eq!(document.is_some(), view.is_live());
    }
}
