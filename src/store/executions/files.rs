//! Files of executions. Scripts, inputs and outputs share the table of blobs, by hash.

use diesel::prelude::*;
use rgrid_api::OutputFile;
use sha2::{Digest, Sha256};

use crate::execution::{ExecutionId, FileContent};
use crate::store::schema::{blobs, execution_files};
use crate::store::{Result, Store};

/// What an execution uses a file for.
pub(crate) mod role {
    pub const SCRIPT: &str = "script";
    pub const INPUT: &str = "input";
    pub const OUTPUT: &str = "output";
}

/// Adds output files to an execution, in the caller's transaction.
pub(crate) fn insert_outputs(
    conn: &mut PgConnection,
    execution: &ExecutionId,
    files: &[FileContent],
) -> QueryResult<()> {
    let files: Vec<_> = files.iter().map(|file| (file, Sha256::digest(&file.content).to_vec())).collect();
    let contents =
        files.iter().map(|(file, sha256)| (blobs::sha256.eq(sha256), blobs::content.eq(&file.content)));
    let blobs = diesel::insert_into(blobs::table).values(contents.collect::<Vec<_>>());
    blobs.on_conflict_do_nothing().execute(conn)?;
    let rows = files.iter().map(|(file, sha256)| {
        (
            execution_files::execution_id.eq(execution.as_str()),
            execution_files::role.eq(role::OUTPUT),
            execution_files::name.eq(&file.name),
            execution_files::size.eq(file.content.len() as i64),
            execution_files::sha256.eq(sha256),
        )
    });
    diesel::insert_into(execution_files::table).values(rows.collect::<Vec<_>>()).execute(conn).map(drop)
}

#[diesel::dsl::auto_type]
fn files(execution: &ExecutionId) -> _ {
    let id: String = execution.to_string();
    execution_files::table.filter(execution_files::execution_id.eq(id)).order(execution_files::name)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = execution_files, check_for_backend(diesel::pg::Pg))]
struct FileRow {
    name: String,
    size: i64,
    sha256: Vec<u8>,
}

impl From<FileRow> for OutputFile {
    fn from(FileRow { name, size, sha256 }: FileRow) -> Self {
        Self { name, size: size.unsigned_abs(), sha256: base16ct::lower::encode_string(&sha256) }
    }
}

pub(crate) fn outputs(conn: &mut PgConnection, execution: &ExecutionId) -> QueryResult<Vec<OutputFile>> {
    let outputs = files(execution).filter(execution_files::role.eq(role::OUTPUT));
    let rows = outputs.select(FileRow::as_select()).load(conn)?;
    Ok(rows.into_iter().map(OutputFile::from).collect())
}

impl Store {
    pub async fn outputs(&self, execution: &ExecutionId) -> Result<Vec<OutputFile>> {
        let id = execution.clone();
        self.query(move |conn| outputs(conn, &id)).await
    }

    /// The script, then the inputs by name.
    pub async fn submitted_files(&self, execution: &ExecutionId) -> Result<Vec<OutputFile>> {
        let submitted = files(execution).filter(execution_files::role.ne(role::OUTPUT));
        let ordered = submitted.order((execution_files::role.desc(), execution_files::name));
        let rows = self.load(ordered.select(FileRow::as_select())).await?;
        Ok(rows.into_iter().map(OutputFile::from).collect())
    }

    /// In order.
    pub async fn input_names(&self, execution: &ExecutionId) -> Result<Vec<String>> {
        let inputs = files(execution).filter(execution_files::role.eq(role::INPUT));
        self.load(inputs.select(execution_files::name)).await
    }

    /// One input file, so that only one is in memory at a time.
    pub async fn input(&self, execution: &ExecutionId, name: &str) -> Result<FileContent> {
        self.file(execution, role::INPUT, name).await
    }

    pub async fn output(&self, execution: &ExecutionId, name: &str) -> Result<FileContent> {
        self.file(execution, role::OUTPUT, name).await
    }

    async fn file(&self, execution: &ExecutionId, role: &'static str, name: &str) -> Result<FileContent> {
        let file = execution_files::table.find((execution.to_string(), role, name.to_owned()));
        let content = self.get(file.inner_join(blobs::table).select(blobs::content)).await?;
        Ok(FileContent { name: name.to_owned(), content })
    }
}
