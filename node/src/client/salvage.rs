//! `peat-node salvage`: documents of stores that were set aside.
//!
//! Inputs: a data folder. Outputs: lines as `peat-node export` writes them, so that `peat-node import` takes them, and
//! on standard error what each place had. What it does not do: remove a place, or decide which of two versions is
//! right: what was set aside first comes first, so that an import ends with the last.

use super::ClientError;
use super::transfer::write_line;
use crate::cli::SalvageArgs;
use crate::config::{DEFAULT_DATA_DIR, store_keys, vault};
use crate::store::finds::{self, FindError, Finds, How};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// Reads every place; one that cannot be read stops no other.
pub(super) fn salvage(args: &SalvageArgs) -> Result<(), ClientError> {
    let data_dir = args.data_dir.as_deref().filter(|text| !text.is_empty()).unwrap_or(DEFAULT_DATA_DIR);
    let usage = |error| ClientError::Usage(super::chain(&error));
    let keys = store_keys(args.store_key_file.as_ref()).map_err(usage)?;
    let vault = vault(None, args.encryption_key_file.as_ref()).map_err(usage)?;
    let how = How { keys, vault, with_damaged: args.damaged };
    let input = |source| ClientError::Input { from: data_dir.to_owned(), source };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failed = 0;
    for place in finds::places(Path::new(data_dir)).map_err(input)? {
        let mut take =
            |key: &peat_node_core::ids::Key, json: &str| write_line(&mut out, key.collection(), key.doc_id(), json);
        match finds::read(&place, &how, &mut take) {
            Ok(finds) => {
                failed += usize::from(!finds.has_all_rows());
                writeln!(io::stderr(), "{}: {}", place.display(), told(&finds))?;
            }
            Err(FindError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
                return Err(source.into());
            }
            Err(error) => {
                failed += usize::from(!matches!(error, FindError::InUse { .. }));
                writeln!(io::stderr(), "{}", super::chain(&error))?;
            }
        }
    }
    out.flush()?;
    if failed > 0 { Err(ClientError::Places(failed)) } else { Ok(()) }
}

fn told(finds: &Finds) -> String {
    let Finds { documents, deleted, damaged, histories, left_out } = finds;
    if *finds == Finds::default() {
        return "nothing is set aside here".to_owned();
    }
    let lost = match left_out.as_slice() {
        [] => String::new(),
        parts => format!("; cannot be read: {}", parts.join(", ")),
    };
    let found = format!("{documents} documents, {deleted} deleted ones, {damaged} damaged records");
    format!("{found}, {histories} histories that were given up{lost}")
}
