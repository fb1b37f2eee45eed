//! `hub-broker salvage`: says what a damaged write-ahead log still holds, and goes on with that where told to.

use program::Failure;
use shards::{DataDirError, KeptGroup, Salvage, StartError};

use crate::args::SalvageArguments;

pub fn run(arguments: &SalvageArguments) -> Result<(), Failure> {
    let dir = arguments.data_dir.display();
    let Some(salvage) = Salvage::examine(&arguments.data_dir).map_err(|error| failure(&error))? else {
        println!("The write-ahead log in {dir} is not damaged: there is nothing to salvage.");
        return Ok(());
    };
    println!("{}", salvage.damage);
    for group in salvage.groups.iter().filter(|group| group.known_index > group.through_index) {
        println!("{}", line(group));
    }
    for group in &salvage.given_up {
        println!(
            "group {group}: other hubs have everything; this hub's replica is given up and fetched again"
        );
    }
    println!("Every other entry that can be read is kept. What was acknowledged beyond that is lost.");
    let set_aside = salvage.set_aside.display().to_string();
    if !arguments.yes {
        println!(
            "The damaged log would be set aside as {set_aside}, and a new one written with what is kept."
        );
        println!("Nothing was changed. Give --yes to do it.");
        return Ok(());
    }
    salvage.carry_out().map_err(Failure::run)?;
    println!("The damaged log was set aside as {set_aside}. The hub can be started.");
    Ok(())
}

fn line(kept: &KeptGroup) -> String {
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
