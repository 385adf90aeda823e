//! What an engine reports corrects what it is thought to hold.

use super::model::{Naive, prompt};
use farebox_routing::{CacheView, PrefixIndex};

/// Blocks that the view may think of.
const MOST: usize = 4_000;

/// A hundred conversations of ten blocks take turns, so that an engine with room for fewer of them finds none again.
fn turns(view: &CacheView, engine: &mut Naive, times: u64) {
    for turn in 0..times {
        let prompt = prompt((0..10).map(|block| turn % 100 * 10 + block));
        let held = engine.leading(&prompt);
        engine.take(&prompt);
        let sent = view.sent(&prompt);
        view.reported(sent, held);
    }
}

#[test]
fn a_view_shrinks_where_the_engine_holds_less_and_grows_where_it_holds_more() {
    let index = PrefixIndex::new();
    let view = index.model("a", MOST).unwrap();
    turns(&view, &mut Naive::new(MOST), 500);
    assert_eq!(view.blocks(), 1_000, "every conversation, as the engine");

    turns(&view, &mut Naive::new(300), 500);
    assert!((64..900).contains(&view.blocks()), "{}", view.blocks());

    let mut large = Naive::new(MOST);
    turns(&view, &mut large, 100);
    let before = view.blocks();
    turns(&view, &mut large, 500);
    assert!(view.blocks() > before, "{before}, then {}", view.blocks());
    assert_eq!(view.blocks(), 1_000, "all of them again");
}

#[test]
fn a_view_never_grows_past_what_it_was_given() {
    let index = PrefixIndex::new();
    let view = index.model("a", 500).unwrap();
    turns(&view, &mut Naive::new(MOST), 1_000);
    assert_eq!(view.blocks(), 500);
}
