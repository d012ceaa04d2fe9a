//! Files of executions. Scripts, inputs and outputs share the table of blobs, by hash.

use diesel::prelude::*;
use rgrid_api::OutputFile;
use sha2::{Digest, Sha256};

use crate::execution::{ExecutionId, FileContent};
use crate::store::schema::{blobs, execution_files};
use crate::store::{Result, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Script,
    Input,
    Output,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Script => "script",
            Role::Input => "input",
            Role::Output => "output",
        }
    }
}

/// Adds output files to an execution, in the caller's transaction.
pub(crate) fn insert_outputs<'a>(
    conn: &mut PgConnection,
    execution: &ExecutionId,
    files: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> QueryResult<()> {
    let files: Vec<_> =
        files.map(|(name, content)| (name, content, Sha256::digest(content).to_vec())).collect();
    let contents =
        files.iter().map(|(_, content, sha256)| (blobs::sha256.eq(sha256), blobs::content.eq(*content)));
    diesel::insert_into(blobs::table)
        .values(contents.collect::<Vec<_>>())
        .on_conflict_do_nothing()
        .execute(conn)?;
    let rows = files.iter().map(|(name, content, sha256)| {
        (
            execution_files::execution_id.eq(execution.as_str()),
            execution_files::role.eq(Role::Output.as_str()),
            execution_files::name.eq(*name),
            execution_files::size.eq(content.len() as i64),
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
    let outputs = files(execution).filter(execution_files::role.eq(Role::Output.as_str()));
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
        let submitted = files(execution).filter(execution_files::role.ne(Role::Output.as_str()));
        let ordered = submitted.order((execution_files::role.desc(), execution_files::name));
        let rows = self.load(ordered.select(FileRow::as_select())).await?;
        Ok(rows.into_iter().map(OutputFile::from).collect())
    }

    /// In order.
    pub async fn input_names(&self, execution: &ExecutionId) -> Result<Vec<String>> {
        let inputs = files(execution).filter(execution_files::role.eq(Role::Input.as_str()));
        self.load(inputs.select(execution_files::name)).await
    }

    /// One input file, so that only one is in memory at a time.
    pub async fn input(&self, execution: &ExecutionId, name: &str) -> Result<FileContent> {
        self.file(execution, Role::Input, name).await
    }

    pub async fn output(&self, execution: &ExecutionId, name: &str) -> Result<FileContent> {
        self.file(execution, Role::Output, name).await
    }

    async fn file(&self, execution: &ExecutionId, role: Role, name: &str) -> Result<FileContent> {
        let file = execution_files::table.find((execution.to_string(), role.as_str(), name.to_owned()));
        let content = self.get(file.inner_join(blobs::table).select(blobs::content)).await?;
        Ok(FileContent { name: name.to_owned(), content })
    }
}
