//! A device without a disk: its store is in memory, and there may be a thousand of them.

use keyward_client::{
    ClientError,
    flow::{Answer, Flow, Moment, Outgoing, Progress, Reply, Step},
    store::memory::MemoryStore,
};
use keyward_server::clock::Clock;

use crate::scenarios::world::World;

/// Carries out a flow. What it waits for, all wait for.
pub(crate) fn run<T>(
    world: &World,
    store: &mut MemoryStore,
    mut flow: Flow<'_, T>,
    mut send: impl FnMut(&Outgoing) -> Answer,
) -> Result<T, ClientError> {
    let mut reply = Reply::Start;
    loop {
        let now = world.clock.now();
        let moment = Moment {
            utc: Some(now),
            monotonic: now.0 * 1000,
        };
        reply = match flow.resume(reply, moment) {
            Progress::Done(result) => return result,
            Progress::Step(Step::Get(keys)) => Reply::Records(store.get(&keys)),
            Progress::Step(Step::Commit(batch)) => {
                store.commit(batch);
                Reply::Committed
            }
            Progress::Step(Step::Send(outgoing)) => Reply::Answer(send(&outgoing)),
            Progress::Step(Step::Wait(milliseconds)) => {
                world.clock.advance(milliseconds.div_ceil(1000));
                Reply::Waited
            }
        };
    }
}
