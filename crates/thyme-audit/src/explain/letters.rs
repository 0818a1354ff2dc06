//! Dead letters of the dataset behind a value: which are of the entity, as far as their bytes tell.

use thyme_core::definition::Extra;
use thyme_core::{Position, Result, Schema, Value};
use thyme_engine::decode::json;
use thyme_engine::{DeadLetter, HistoryRecord};
use thyme_query::ColumnBuffer;

/// A record that could not become a row of the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The position of the record of the log that has it.
    pub position: Position,
    /// `push`, or the file and line.
    pub origin: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The dead letters of a dataset up to S.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// All of them.
    pub of_dataset: u64,
    /// Those that name the entity.
    pub of_entity: u64,
    /// Those whose entity cannot be read.
    pub of_unknown: u64,
    /// The newest of the entity's, newest first; at most as many as were asked for.
    pub shown: Vec<Letter>,
}

impl DeadLetters {
    /// Takes those of the next record of the log. `names` are the fields of the key, if it is one of the row as it came.
    pub(super) fn take(
        &mut self,
        record: &HistoryRecord,
        names: Option<&[String]>,
        key: &[Value],
        limit: usize,
    ) -> Result<()> {
        let fields = names.and_then(|names| {
            let field = |name: &String| record.definition.fields.field(name).cloned();
            names.iter().map(field).collect::<Option<Vec<_>>>()
        });
        let schema = fields.filter(|fields| !fields.is_empty()).map(|fields| Schema { fields });
        for letter in &record.dead_letters {
            self.of_dataset += 1;
            match schema.as_ref().map(|schema| key_of(schema, letter)).transpose()?.flatten() {
                None => self.of_unknown += 1,
                Some(found) if found == key => {
                    self.of_entity += 1;
                    let DeadLetter { origin, reason, .. } = letter.clone();
                    self.shown
                        .insert(0, Letter { position: Position::end_of(record.number), origin, reason });
                    self.shown.truncate(limit);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The key in a letter's bytes, read as an event's is; `None` when they are no JSON object with a valid key.
fn key_of(schema: &Schema, letter: &DeadLetter) -> Result<Option<Vec<Value>>> {
    let read = json::rows(schema, Extra::Ignore, std::iter::once(letter.raw.as_slice()))?;
    if read.batch.num_rows() != 1 {
        return Ok(None);
    }
    let cells = schema.fields.iter().zip(read.batch.columns());
    let values = cells.map(|(field, column)| Ok(ColumnBuffer::from_arrow(field.data_type, column)?.get(0)));
    values.collect::<Result<Vec<_>>>().map(Some)
}
