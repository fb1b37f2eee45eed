use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

const DEADLINE: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

fn desired(version: u64) -> Desired {
    let settings = Map::from_iter([("linger_ms".to_owned(), Value::from(version))]);
    Desired { version, settings }
}

fn arrived(version: u64) -> Event {
    Event::Arrived { desired: desired(version), fits: Ok(()) }
}

fn core() -> Core {
    Core::new(Record::default(), boot(1), DEADLINE)
}

fn boot(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// The same device after a crash of the agent.
fn again(core: &Core, saved: &Record) -> Core {
    started(core, saved, core.boot)
}

fn started(core: &Core, saved: &Record, boot: Uuid) -> Core {
    let mut core = Core::new(saved.clone(), boot, Duration::from_millis(core.deadline_ms));
    core.handle(Event::Started);
    core
}

fn state(core: &Core) -> Option<State> {
    core.verdict().map(|verdict| verdict.state)
}

fn in_force(core: &Core) -> Option<u64> {
    core.record().in_force().map(|desired| desired.version)
}

/// What the actions say, in short.
fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Save => "save".to_owned(),
        Action::Apply => "apply".to_owned(),
        Action::Tell(verdict) => verdict.state.to_string(),
    };
    actions.iter().map(word).collect()
}

/// Second after second; what is done meanwhile.
fn pass(core: &mut Core, time: Duration) -> Vec<String> {
    (0..time.as_secs()).flat_map(|_| words(&core.handle(Event::Passed(SECOND)))).collect()
}

fn accepted(version: u64) -> Core {
    let mut core = core();
    core.handle(arrived(version));
    core.handle(Event::Acknowledged);
    pass(&mut core, SECOND * 10);
    assert_eq!(state(&core), Some(State::Accepted));
    core
}

fn rejected(version: u64) -> Core {
    let mut core = accepted(1);
    core.handle(arrived(version));
    pass(&mut core, DEADLINE / 2);
    assert_eq!(words(&core.handle(Event::ControlKept)), ["save", "apply", "rejected"]);
    core
}

#[test]
fn settings_with_which_a_hub_is_reached_are_accepted_after_a_moment() {
    let mut core = core();
    assert_eq!(words(&core.handle(arrived(12))), ["save", "apply", "trying"], "durable before in force");
    assert_eq!(in_force(&core), Some(12));
    core.handle(Event::Acknowledged);
    assert_eq!(pass(&mut core, SECOND * 9), [""; 0], "some crash an agent only when they run");
    assert_eq!(pass(&mut core, SECOND), ["save", "accepted"]);
    assert_eq!((in_force(&core), core.record().trial.is_none()), (Some(12), true));
}

#[test]
fn settings_without_a_hub_give_way_to_the_former_and_are_tried_again_when_there_is_one() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    let done = pass(&mut core, DEADLINE);
    assert_eq!(done[done.len() - 3..], ["save", "apply", "waiting"]);
    assert_eq!(done.iter().filter(|word| *word == "save").count(), 10, "its progress, and the end");
    assert_eq!((in_force(&core), pass(&mut core, DEADLINE * 10)), (Some(11), vec![]));
    assert_eq!(words(&core.handle(Event::Acknowledged)), ["save", "apply", "trying"]);
    assert_eq!(
        core.record().trial.as_ref().map(|trial| trial.left_ms),
        Some(300_000),
        "its whole time again"
    );
}

#[test]
fn only_a_control_that_was_kept_meanwhile_condemns_settings() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    assert!(!core.wants_control(), "most are acknowledged at once");
    assert_eq!(words(&core.handle(Event::ControlKept)), [""; 0]);
    pass(&mut core, DEADLINE / 4);
    assert!(core.wants_control() && DEADLINE / 4 + core.control_window() < DEADLINE);
    core.handle(Event::Acknowledged);
    assert!(!core.wants_control());
    assert_eq!(words(&core.handle(Event::ControlKept)), [""; 0], "the trial was served too");
    assert_eq!(pass(&mut core, SECOND), ["save", "accepted"]);
    let core = rejected(12);
    assert_eq!((in_force(&core), core.wants_control()), (Some(1), false));
}

#[test]
fn a_rejected_version_is_not_tried_again_and_answered_once() {
    let mut core = rejected(12);
    assert_eq!(words(&core.handle(arrived(12))), [""; 0], "it comes with every connection");
    let mut core = again(&core, &core.record().clone());
    assert_eq!((state(&core), in_force(&core)), (Some(State::Accepted), Some(1)));
    assert_eq!(words(&core.handle(arrived(12))), ["rejected"]);
    assert_eq!(words(&core.handle(arrived(12))), [""; 0]);
    let other = Event::Arrived { desired: Desired { version: 12, settings: Map::new() }, fits: Ok(()) };
    assert_eq!((words(&core.handle(other)), in_force(&core)), (vec!["refused".to_owned()], Some(1)));
    assert_eq!(words(&core.handle(arrived(13))), ["save", "apply", "trying"]);
}

#[test]
fn a_start_spends_a_tenth_of_the_deadline() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    let saved = core.record().clone();
    pass(&mut core, SECOND * 29);
    let mut core = again(&core, &saved);
    let left = |core: &Core| core.record().trial.as_ref().map(|trial| trial.left_ms);
    assert_eq!((in_force(&core), left(&core)), (Some(12), Some(270_000)), "no less than what had passed");
    let done = pass(&mut core, SECOND * 270);
    assert_eq!((done.last().map(String::as_str), in_force(&core)), (Some("waiting"), Some(11)));
    let mut core = again(&core, &core.record().clone());
    assert_eq!((in_force(&core), state(&core)), (Some(11), Some(State::Waiting)));
    core.handle(Event::Acknowledged);
    assert_eq!(core.record().trial.as_ref().map(|trial| trial.crashed), Some(0), "it was no crash");
}

#[test]
fn settings_that_crash_the_agent_are_rejected_after_three_rounds() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    for round in 1..=3 {
        for start in 1..=10 {
            assert_eq!(in_force(&core), Some(12), "start {start} of round {round}");
            // A hub is reached, and the agent dies before it is sure.
            core.handle(Event::Acknowledged);
            core = again(&core, &core.record().clone());
        }
        assert_eq!(in_force(&core), Some(11));
        assert_eq!(state(&core), Some(if round < 3 { State::Waiting } else { State::Rejected }));
        core.handle(Event::Acknowledged);
    }
    assert_eq!(words(&core.handle(arrived(12))), [""; 0]);
}

#[test]
fn a_device_that_is_switched_off_again_and_again_condemns_no_settings() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    for round in 1..=15 {
        for start in 1..=10 {
            assert_eq!(in_force(&core), Some(12), "start {start} of round {round}");
            if start % 2 == 0 {
                let stopped = core.handle(Event::Stopped);
                assert_eq!(words(&stopped), ["save"], "by whoever restarts the agent");
            }
            let next = core.boot.as_u128() + start % 2;
            core = started(&core, &core.record().clone(), boot(next));
        }
        assert_eq!((in_force(&core), state(&core)), (Some(11), Some(State::Waiting)), "its time is over");
        core.handle(Event::Acknowledged);
    }
    core.handle(Event::Acknowledged);
    assert_eq!(pass(&mut core, SECOND * 10), ["save", "accepted"]);
}

/// The device goes down again and again while settings are in force, ten boots of it; then a hub is reached with the
/// former ones.
fn goes_down(mut core: Core) -> Core {
    for _ in 1..=10 {
        assert_eq!(in_force(&core), Some(12));
        core = started(&core, &core.record().clone(), boot(core.boot.as_u128() + 1));
    }
    assert_eq!(in_force(&core), Some(11));
    core
}

#[test]
fn settings_under_which_alone_the_device_goes_down_are_rejected_after_ten_rounds() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    for round in 1..=10 {
        core = goes_down(core);
        assert_eq!(state(&core), Some(if round < 10 { State::Waiting } else { State::Rejected }));
        core.handle(Event::Acknowledged);
    }
    assert_eq!(words(&core.handle(arrived(12))), [""; 0]);
}

#[test]
fn settings_under_which_a_device_goes_down_as_with_the_former_are_not_rejected() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    for _ in 1..=30 {
        core = goes_down(core);
        assert_eq!(state(&core), Some(State::Waiting));
        core = started(&core, &core.record().clone(), boot(core.boot.as_u128() + 1));
        core.handle(Event::Acknowledged);
    }
    assert_eq!(in_force(&core), Some(12));
}

#[test]
fn an_outage_ends_a_trial_neither_way_however_often_and_long() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    for _ in 0..20 {
        pass(&mut core, DEADLINE * 3);
        assert_eq!(state(&core), Some(State::Waiting));
        core.handle(Event::Acknowledged);
        assert_eq!(state(&core), Some(State::Trying));
    }
    core.handle(Event::Acknowledged);
    pass(&mut core, SECOND * 10);
    assert_eq!(in_force(&core), Some(12));
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    let unfit = |version| Event::Arrived { desired: desired(version), fits: Err("no such input".to_owned()) };
    let actions = core.handle(unfit(13));
    assert_eq!(actions, [Action::Tell(Verdict::because(13, State::Refused, "no such input"))]);
    assert_eq!((words(&core.handle(unfit(13))), in_force(&core)), (vec![], Some(12)));
    core.handle(Event::Acknowledged);
    pass(&mut core, SECOND * 10);
    assert_eq!(core.record().accepted, Some(desired(12)));
    let other = Desired { version: 12, settings: Map::new() };
    let other = core.handle(Event::Arrived { desired: other, fits: Ok(()) });
    assert_eq!((words(&other), in_force(&core)), (vec!["refused".to_owned()], Some(12)));
    assert_eq!(words(&core.handle(arrived(13))), ["save", "apply", "trying"], "it fits by now");
}

#[test]
fn what_arrives_later_takes_the_place_of_what_is_tried() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    assert_eq!((words(&core.handle(arrived(12))), in_force(&core)), (vec![], Some(12)));
    core.handle(arrived(13));
    assert_eq!(in_force(&core), Some(13));
    assert_eq!(words(&core.handle(arrived(12))), ["refused"], "a lower version is older");
    assert_eq!(words(&core.handle(arrived(11))), ["refused"]);
    assert_eq!(in_force(&core), Some(13));
    assert_eq!(words(&core.handle(Event::Withdrawn)), ["save", "apply", "withdrawn"]);
    assert_eq!((words(&core.handle(Event::Withdrawn)), in_force(&core)), (vec![], None));
}

#[test]
fn what_was_wanted_once_is_not_wanted_again_because_a_hub_hands_it_out_again() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    core.handle(Event::Acknowledged);
    pass(&mut core, SECOND * 10);
    for version in 1..12 {
        assert_eq!(words(&core.handle(arrived(version))), ["refused"]);
    }
    assert_eq!((words(&core.handle(arrived(12))), in_force(&core)), (vec!["accepted".to_owned()], Some(12)));
    core.handle(Event::Withdrawn);
    assert_eq!((words(&core.handle(arrived(11))), in_force(&core)), (vec!["refused".to_owned()], None));
    assert_eq!(words(&core.handle(arrived(12))), ["save", "apply", "trying"]);
}

#[test]
fn settings_that_do_not_fit_another_file_are_no_longer_tried() {
    let mut core = accepted(11);
    core.handle(arrived(12));
    let actions = core.handle(Event::Unfit("there is no input \"a\"".to_owned()));
    assert_eq!(
        (words(&actions), in_force(&core)),
        (["save", "apply", "refused"].map(String::from).into(), Some(11))
    );
    assert_eq!(words(&core.handle(arrived(12))), ["save", "apply", "trying"], "it is not condemned");
    let mut core = accepted(11);
    let unfit = || Event::Unfit("there is no input \"a\"".to_owned());
    assert_eq!((words(&core.handle(unfit())), in_force(&core)), (vec!["refused".to_owned()], Some(11)));
    assert_eq!(words(&core.handle(unfit())), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_told_once_and_changes_nothing() {
    let mut core = accepted(11);
    let unreadable = || Event::Unreadable(MessageError { version: None, what: "no JSON".to_owned() });
    assert_eq!((words(&core.handle(unreadable())), in_force(&core)), (vec!["refused".to_owned()], Some(11)));
    assert_eq!(words(&core.handle(unreadable())), [""; 0]);
}

#[test]
fn what_could_not_be_made_durable_has_not_happened() {
    let mut core = accepted(11);
    let saved = core.record().clone();
    core.handle(arrived(12));
    core.fall_back(saved, Verdict::because(12, State::Waiting, "the disk is full"));
    assert_eq!((in_force(&core), state(&core)), (Some(11), Some(State::Waiting)));
    assert_eq!(words(&core.handle(arrived(12))), ["save", "apply", "trying"]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrived(u64),
    Withdrawn,
    Acknowledged,
    ControlKept,
    Passed(u64),
    Crash,
    PowerCut,
}

fn step(is_outage: bool) -> BoxedStrategy<Step> {
    let quiet = prop_oneof![(1_u64..200).prop_map(Step::Passed), (0_u64..4).prop_map(Step::Arrived)];
    if is_outage {
        return quiet.boxed();
    }
    let other = prop_oneof![
        Just(Step::Acknowledged),
        Just(Step::ControlKept),
        Just(Step::Crash),
        Just(Step::PowerCut),
        Just(Step::Withdrawn)
    ];
    prop_oneof![2 => quiet, 1 => other].boxed()
}

/// A device with what is durable of it.
struct Device {
    core: Core,
    saved: Record,
}

impl Device {
    /// Makes durable what the core wants durable, and checks that it does so in time.
    fn take(&mut self, event: Event) -> Vec<Action> {
        let actions = self.core.handle(event);
        for action in &actions {
            match action {
                Action::Save => self.saved = self.core.record().clone(),
                Action::Apply => assert_eq!(&self.saved, self.core.record(), "durable before it is in force"),
                Action::Tell(_) => {}
            }
        }
        actions
    }

    fn start(&mut self, boot: Uuid) -> Vec<Action> {
        self.core = Core::new(self.saved.clone(), boot, DEADLINE);
        self.take(Event::Started)
    }

    fn step(&mut self, step: Step) -> Vec<Action> {
        match step {
            Step::Arrived(version) => self.take(arrived(version)),
            Step::Withdrawn => self.take(Event::Withdrawn),
            Step::Acknowledged => self.take(Event::Acknowledged),
            Step::ControlKept => self.take(Event::ControlKept),
            Step::Passed(seconds) => self.take(Event::Passed(Duration::from_secs(seconds))),
            Step::Crash => self.start(self.core.boot),
            Step::PowerCut => self.start(boot(self.core.boot.as_u128() + 1)),
        }
    }
}

proptest! {
    #[test]
    fn no_rejected_version_is_ever_in_force_and_no_trial_is_without_an_end(
        steps in prop::collection::vec(step(false), 1..120),
    ) {
        let mut device = Device { core: core(), saved: Record::default() };
        let mut gone = Vec::new();
        let mut unproven = Duration::ZERO;
        for step in steps {
            let passed = if let Step::Passed(seconds) = step { seconds } else { 0 };
            let actions = device.step(step);
            let trial = device.core.record().trial.clone();
            let is_trying = trial.is_some_and(|trial| trial.phase == Phase::Trying);
            let is_anew = actions.contains(&Action::Apply) || device.core.is_acknowledged || !is_trying;
            unproven = if is_anew { Duration::ZERO } else { unproven + Duration::from_secs(passed) };
            prop_assert!(unproven < DEADLINE, "in force for {unproven:?} without a hub");
            for action in actions {
                if let Action::Tell(Verdict { version: Some(version), state: State::Rejected, .. }) = action {
                    gone.push(version);
                }
            }
            if let Some(version) = in_force(&device.core) {
                prop_assert!(!gone.contains(&version), "{version} was rejected");
            }
        }
    }

    #[test]
    fn without_a_hub_nothing_is_accepted_or_rejected(
        before in prop::collection::vec(step(false), 0..40),
        outage in prop::collection::vec(step(true), 1..60),
    ) {
        let mut device = Device { core: core(), saved: Record::default() };
        for step in before {
            device.step(step);
        }
        // What was served before the outage may still be accepted in it.
        let was_served = device.core.is_acknowledged.then(|| in_force(&device.core)).flatten();
        for step in outage {
            // What somebody has wanted before is answered as before.
            let is_known = |version| device.core.record().rejected(version).is_some()
                || device.core.record().accepted.as_ref().is_some_and(|accepted| accepted.version == version);
            if let Step::Arrived(version) = step && is_known(version) {
                continue;
            }
            for action in device.step(step) {
                if let Action::Tell(Verdict { version, state: State::Accepted | State::Rejected, .. }) = action {
                    prop_assert!(version.is_some() && version == was_served);
                }
            }
        }
    }
}
