//! `hub-broker salvage`: says what a damaged write-ahead log still holds, and goes on with that where told to.

use program::Failure;
use program::output::{line, text};
use shards::{DataDirError, KeptGroup, Salvage, StartError};

use crate::args::SalvageArguments;

pub fn run(arguments: &SalvageArguments) -> Result<(), Failure> {
    let dir = arguments.data_dir.display();
    let Some(salvage) = Salvage::examine(&arguments.data_dir).map_err(|error| failure(&error))? else {
        line(format_args!("The write-ahead log in {dir} is not damaged: there is nothing to salvage."));
        return Ok(());
    };
    let set_aside = salvage.set_aside.display().to_string();
    let kept = said_of(&salvage);
    if arguments.yes {
        // Done before anything is said of it: whoever reads may go away.
        salvage.carry_out().map_err(Failure::run)?;
        text(kept);
        line(format_args!("The damaged log was set aside as {set_aside}. The hub can be started."));
    } else {
        text(kept);
        line(format_args!(
            "The damaged log would be set aside as {set_aside}, and a new one written with what is kept."
        ));
        line("Nothing was changed. Give --yes to do it.");
    }
    Ok(())
}

/// What is damaged, and what is kept.
fn said_of(salvage: &Salvage) -> String {
    let cut =
        salvage.groups.iter().filter(|group| group.known_index > group.through_index).map(said_of_group);
    let given_up = salvage.given_up.iter().map(|group| {
        format!("group {group}: other hubs have everything; this hub's replica is given up and fetched again")
    });
    let kept = "Every other entry that can be read is kept. What was acknowledged beyond that is lost.";
    let lines =
        std::iter::once(salvage.damage.to_string()).chain(cut).chain(given_up).chain([kept.to_owned()]);
    lines.map(|line| line + "\n").collect()
}

fn said_of_group(kept: &KeptGroup) -> String {
    let whose = match kept.group {
        0 => "group 0 (the metadata)".to_owned(),
        group => format!("group {group} (shard {})", group - 1),
    };
    let (last, known) = (kept.through_index, kept.known_index);
    format!("{whose}: kept through entry {last}; entries {} to {known} are cut", last + 1)
}

/// A place that cannot be used is the caller's to mend; damage is not.
fn failure(error: &StartError) -> Failure {
    match error {
        StartError::DataDir(DataDirError::Damaged { .. }) => Failure::run(error),
        StartError::DataDir(_) => Failure::usage(error),
        _ => Failure::run(error),
    }
}
