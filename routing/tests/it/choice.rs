//! What is at an engine, and how fast it was, decides between engines that hold the same.

use super::model::prompt;
use farebox_routing::{Answered, ModelRouter, Prompt, Seat};
use std::sync::Arc;

/// A router with two engines that are alike.
fn two() -> (ModelRouter, [Arc<Seat>; 2]) {
    let router = ModelRouter::default();
    let seats = ["a", "b"].map(|name| {
        let view = router.index().model(name, 1_000).unwrap();
        Arc::new(router.seat(view, Arc::default()))
    });
    (router, seats)
}

/// What a prompt that nobody holds would cost at each.
fn totals(router: &ModelRouter, seats: &[Arc<Seat>; 2], now_us: u64) -> [u64; 2] {
    let scores = router.scores(&prompt(900..910), seats.iter().map(|seat| &**seat), now_us);
    [0, 1].map(|at| scores[at].estimate.total_us())
}

#[test]
fn prefill_ahead_and_streams_that_run_cost_time() {
    let (router, seats) = two();
    let mut first = router.dispatch(Arc::clone(&seats[0]), &prompt(0..50), 0);
    let scores = router.scores(&prompt(900..910), seats.iter().map(|seat| &**seat), 0);
    assert!(scores[0].estimate.queue_us > 0);
    assert_eq!(scores[1].estimate.queue_us, 0);
    first.first_token(1);
    let scores = router.scores(&prompt(900..910), seats.iter().map(|seat| &**seat), 1);
    assert_eq!(scores[0].estimate.queue_us, 0);
    assert!(scores[0].estimate.decode_us > scores[1].estimate.decode_us);
}

#[test]
fn what_an_engine_holds_draws_a_prompt_and_what_it_never_bears_out_does_not() {
    let (router, seats) = two();
    let known = prompt(0..50);
    let mut now_us = 0;
    // Each in turn, so that they differ in nothing else.
    let mut serve = |engine: usize, asked: &Prompt, cached_tokens| {
        let mut sent = router.dispatch(Arc::clone(&seats[engine]), asked, now_us);
        now_us += 40_000;
        sent.first_token(now_us);
        let answered = Answered {
            prompt_tokens: 800,
            cached_tokens: Some(cached_tokens),
            output_tokens: 1,
        };
        sent.ended(answered, now_us);
        now_us
    };
    serve(0, &prompt(200..400), 0);
    serve(0, &known, 0);
    let now = serve(1, &prompt(100..150), 0);
    let held = |now| {
        let scores = router.scores(&known, seats.iter().map(|seat| &**seat), now);
        (scores[0].cached_tokens, scores[1].cached_tokens)
    };
    assert_eq!(held(now), (800, 0));
    assert_eq!(seats[0].view.blocks(), 250);
    let mut now = now;
    for _ in 0..60 {
        now = serve(0, &known, 0);
    }
    assert!(held(now).0 < 100, "{:?}", held(now));
    assert!(seats[0].view.blocks() < 100, "it holds less than was thought");
}

#[test]
fn an_engine_that_was_slow_is_dearer_until_that_is_long_ago() {
    let (router, seats) = two();
    for turn in 0..200 {
        for (seat, took_us) in seats.iter().zip([400_000, 40_000]) {
            let begun_us = turn * 1_000_000;
            let mut sent = router.dispatch(Arc::clone(seat), &prompt(turn * 10..turn * 10 + 10), begun_us);
            sent.first_token(begun_us + took_us);
        }
    }
    let [slow, fast] = totals(&router, &seats, 200_000_000);
    assert!(slow > fast * 5, "{slow} {fast}");
    let [later, fast] = totals(&router, &seats, 2_000_000_000);
    assert!(later < fast * 2, "{later} {fast}");
}
