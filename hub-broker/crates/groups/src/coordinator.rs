//! The groups of one partition of the offsets topic, in memory while this hub coordinates them: for one term of its
//! shard.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::confirm::Confirm;
use crate::context::Context;
use crate::error::CoordinatorError;
use crate::group::Group;
use crate::limits::GROUP_INBOX;
use crate::load::LoadedGroup;
use crate::offsets::Offsets;
use crate::offsets_log::OffsetsLog;
use crate::task::{GroupTask, Message, Parts, Summary};

/// The way to a group's task.
#[derive(Clone)]
pub(crate) struct GroupHandle {
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) summary: watch::Receiver<Summary>,
    /// Cancelled when this hub no longer coordinates the group.
    pub(crate) over: CancellationToken,
}

pub(crate) struct Coordinator {
    context: Arc<Context>,
    log: OffsetsLog,
    groups: Mutex<HashMap<String, GroupHandle>>,
    confirm: Confirm,
}

impl Coordinator {
    /// Nothing in it ends before `log.over()` does. Must be called within a tokio runtime.
    pub(crate) fn new(context: Arc<Context>, log: OffsetsLog) -> Self {
        let asked = log.clone();
        let confirm = Confirm::start(log.over(), move || asked.clone().confirm());
        Self { context, log, groups: Mutex::default(), confirm }
    }

    pub(crate) fn over(&self) -> &CancellationToken {
        self.log.over()
    }

    /// Takes in what was read. What has expired or lost its topic meanwhile is swept at once.
    pub(crate) fn begin_all(self: &Arc<Self>, groups: HashMap<String, LoadedGroup>) {
        let now = self.context.now();
        for (id, loaded) in groups {
            let group = match loaded.metadata {
                Some(metadata) => Group::restore(&id, self.context.settings(), now, metadata),
                None => Group::new(&id, self.context.settings(), now),
            };
            let handle = self.begin(&id, group, loaded.offsets, true);
            // A fresh inbox has room.
            let _ = handle.inbox.try_send(Message::Sweep);
            self.groups.lock().insert(id, handle);
        }
    }

    pub(crate) fn find(&self, id: &str) -> Option<GroupHandle> {
        self.groups.lock().get(id).cloned()
    }

    /// An unknown group begins empty.
    pub(crate) fn find_or_begin(self: &Arc<Self>, id: &str) -> GroupHandle {
        let mut groups = self.groups.lock();
        if let Some(handle) = groups.get(id) {
            return handle.clone();
        }
        let group = Group::new(id, self.context.settings(), self.context.now());
        let handle = self.begin(id, group, Offsets::default(), false);
        groups.insert(id.to_owned(), handle.clone());
        handle
    }

    pub(crate) fn all(&self) -> Vec<(String, GroupHandle)> {
        self.groups.lock().iter().map(|(id, handle)| (id.clone(), handle.clone())).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.groups.lock().len()
    }

    /// Returns when a majority has said, after this call, that this hub leads in the term of what is in memory.
    /// `None` when it is over.
    pub(crate) async fn confirm(&self) -> Option<Result<(), CoordinatorError>> {
        self.confirm.confirm().await
    }

    fn begin(self: &Arc<Self>, id: &str, group: Group, offsets: Offsets, is_stored: bool) -> GroupHandle {
        let protocol_type = group.protocol_type().unwrap_or_default().to_owned();
        let (summary, summaries) = watch::channel(Summary { state: group.state(), protocol_type });
        let (sender, inbox) = mpsc::channel(GROUP_INBOX);
        let log = self.log.clone();
        let parts = Parts { id: id.to_owned(), group, offsets, log, inbox, summary, is_stored };
        let task = GroupTask::new(self.context.clone(), parts);
        let (coordinator, id, own) = (self.clone(), id.to_owned(), sender.downgrade());
        tokio::spawn(self.over().clone().run_until_cancelled_owned(async move {
            task.run().await;
            coordinator.end(&id, &own);
        }));
        GroupHandle { inbox: sender, summary: summaries, over: self.over().clone() }
    }

    /// A group's task has ended. Another may have begun under its name since.
    fn end(&self, id: &str, inbox: &mpsc::WeakSender<Message>) {
        let mut groups = self.groups.lock();
        let own = inbox.upgrade();
        if groups.get(id).is_some_and(|known| own.is_none_or(|own| known.inbox.same_channel(&own))) {
            groups.remove(id);
        }
    }
}
