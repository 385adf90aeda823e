//! What engines are called for: a request, or a part of one that is too much for one call.

use crate::pipeline::admit::Admitted;
use crate::pipeline::in_flight::Progress;
use crate::pipeline::request::InferenceRequest;
use farebox_routing::Prompt;
use parking_lot::Mutex;
use std::sync::Arc;

/// What is placed at an engine, sent there, and tried again by itself.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The request that was let in.
    pub admitted: &'a Admitted,
    /// What is sent: that request, or a part of it.
    pub request: &'a InferenceRequest,
    /// Its prompt, where that decides which engine serves it.
    pub prompt: Option<&'a Arc<Prompt>>,
    /// What has come of it so far.
    pub progress: &'a Mutex<Progress>,
    /// Which part it is, counted from one; `None` is all of it.
    pub part: Option<usize>,
}

impl<'a> Call<'a> {
    /// For all of a request.
    pub fn whole(admitted: &'a Admitted) -> Self {
        Self {
            admitted,
            request: &admitted.request,
            prompt: admitted.prompt.as_ref(),
            progress: &admitted.live().progress,
            part: None,
        }
    }

    /// Whether an engine has had a part of the request before: then it is not turned away for want of room.
    pub fn follows(&self) -> bool {
        self.part.is_some_and(|part| part > 1)
    }
}
