//! The Open Inference Protocol, version 2 (as KServe and Triton speak it), for the tasks of this fleet:
//! a model is a task type, its input `data` a tensor of texts, its outputs the best label and its score.
//!
//! Source: <https://github.com/kserve/open-inference-protocol>. The binary data extension is not spoken.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{InferRequest, InferResponse, Options, Problem, ProblemCode, TaskType};

/// A tensor: a name, a shape, a datatype, and its elements in row-major order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tensor {
    /// Inputs: `data`, or `candidates` or `images` beside it. Outputs: `prediction`, `confidence`, and
    /// `labels` with `scores`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// `BYTES` for texts, `FP64` for scores.
    pub datatype: String,
    /// Its elements, flat or nested.
    #[schema(value_type = Vec<Object>)]
    pub data: Vec<Value>,
}

/// `POST /v2/models/{model}/infer`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct V2Request {
    /// The request's id; echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub id: Option<String>,
    /// `top_k`, `priority` and `timeout_ms`, as in a request to `/infer`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// `data`, and where the task takes them `candidates` or `images`.
    pub inputs: Vec<Tensor>,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct V2Response {
    /// The task type.
    pub model_name: String,
    /// The model that answered.
    pub model_version: String,
    /// The request's id, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub id: Option<String>,
    /// `prediction` and `confidence`; `labels` and `scores` where every item has as many.
    pub outputs: Vec<Tensor>,
}

/// `GET /v2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct V2Server {
    /// `aiq`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// None.
    pub extensions: Vec<String>,
}

/// A tensor's description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: String,
    /// Its dimensions; -1 is any.
    pub shape: Vec<i64>,
}

/// `GET /v2/models/{model}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct V2Model {
    /// The task type.
    pub name: String,
    /// One.
    pub versions: Vec<String>,
    /// `aiq`.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorInfo>,
    /// What it gives.
    pub outputs: Vec<TensorInfo>,
}

impl V2Model {
    /// The description of a task.
    pub fn of(task: TaskType) -> Self {
        let info = |name: &str, datatype: &str, shape: &[i64]| TensorInfo {
            name: name.to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
        };
        let mut inputs = vec![info("data", "BYTES", &[-1])];
        match task {
            TaskType::ClipTextSimilarity => inputs.push(info("candidates", "BYTES", &[-1])),
            TaskType::ClipTextToImage => inputs.push(info("images", "BYTES", &[-1])),
            TaskType::TextClassification | TaskType::ImageClassification => {}
        }
        Self {
            name: task.as_str().to_owned(),
            versions: vec!["1".to_owned()],
            platform: "aiq".to_owned(),
            inputs,
            outputs: vec![
                info("prediction", "BYTES", &[-1]),
                info("confidence", "FP64", &[-1]),
                info("labels", "BYTES", &[-1, -1]),
                info("scores", "FP64", &[-1, -1]),
            ],
        }
    }
}

impl V2Request {
    /// Most items in one request.
    pub const MAX_ITEMS: usize = 64;

    /// The requests that it stands for, one for each item of `data`.
    ///
    /// # Errors
    /// [`ProblemCode::InvalidField`] where a tensor or a parameter is not what it should be, and what
    /// [`InferRequest::validate`] finds.
    pub fn requests(&self, task: TaskType) -> Result<Vec<InferRequest>, Problem> {
        let mut data = None;
        let mut options = Options::default();
        for tensor in &self.inputs {
            let texts = tensor.texts()?;
            match tensor.name.as_str() {
                "candidates" => options.candidates = Some(texts),
                "images" => options.images = Some(texts),
                // Clients name their one input as they like.
                _ if data.is_none() => data = Some(texts),
                other => return Err(invalid(format!("there is no input \"{other}\" beside data"))),
            }
        }
        let data = data.ok_or_else(|| invalid("inputs has no tensor of data".to_owned()))?;
        if data.is_empty() || data.len() > Self::MAX_ITEMS {
            return Err(invalid(format!("data has {} items; it must have 1 to {}", data.len(), Self::MAX_ITEMS)));
        }
        options.top_k = self.parameter("top_k", |v| v.as_u64().and_then(|k| u32::try_from(k).ok()))?;
        let timeout_ms = self.parameter("timeout_ms", Value::as_u64)?;
        let priority = match self.parameter("priority", |v| v.as_str().map(str::to_owned))? {
            Some(name) => Some(name.parse()?),
            None => None,
        };
        let request = |data| {
            let options = options.clone();
            let request = InferRequest { request_id: None, task_type: task, data, options, priority, timeout_ms };
            request.validate().map(|()| request)
        };
        data.into_iter().map(request).collect()
    }

    fn parameter<T>(&self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, Problem> {
        match self.parameters.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                read(value).map(Some).ok_or_else(|| invalid(format!("parameters.{name} has the wrong type or range")))
            }
        }
    }
}

impl Tensor {
    fn texts(&self) -> Result<Vec<String>, Problem> {
        fn flatten(values: &[Value], name: &str, out: &mut Vec<String>) -> Result<(), Problem> {
            for value in values {
                match value {
                    Value::String(text) => out.push(text.clone()),
                    Value::Array(inner) => flatten(inner, name, out)?,
                    _ => return Err(invalid(format!("the input {name} has an element that is not a string"))),
                }
            }
            Ok(())
        }
        if self.datatype != "BYTES" {
            return Err(invalid(format!(
                "the input {} has the datatype {}; it must be BYTES",
                self.name, self.datatype
            )));
        }
        let mut texts = Vec::new();
        flatten(&self.data, &self.name, &mut texts)?;
        let shaped = self.shape.iter().try_fold(1_u64, |n, d| n.checked_mul(*d));
        if shaped != Some(texts.len() as u64) {
            return Err(invalid(format!(
                "the input {} has {} elements; its shape says otherwise",
                self.name,
                texts.len()
            )));
        }
        Ok(texts)
    }
}

impl V2Response {
    /// The answer that these make together.
    pub fn of(task: TaskType, id: Option<String>, answers: &[InferResponse]) -> Self {
        let n = answers.len() as u64;
        let tensor = |name: &str, datatype: &str, shape: Vec<u64>, data: Vec<Value>| Tensor {
            name: name.to_owned(),
            shape,
            datatype: datatype.to_owned(),
            data,
        };
        let each = |f: fn(&InferResponse) -> Value| answers.iter().map(f).collect::<Vec<_>>();
        let mut outputs = vec![
            tensor("prediction", "BYTES", vec![n], each(|a| a.result.prediction.clone().into())),
            tensor("confidence", "FP64", vec![n], each(|a| a.result.confidence.into())),
        ];
        let ranked: Vec<_> =
            answers.iter().map(|a| a.result.similarities.as_ref().unwrap_or(&a.result.scores)).collect();
        let k = ranked.first().map_or(0, |s| s.0.len());
        if k > 0 && ranked.iter().all(|s| s.0.len() == k) {
            let all = || ranked.iter().flat_map(|s| &s.0);
            let shape = vec![n, k as u64];
            outputs.push(tensor("labels", "BYTES", shape.clone(), all().map(|(l, _)| l.clone().into()).collect()));
            outputs.push(tensor("scores", "FP64", shape, all().map(|(_, s)| (*s).into()).collect()));
        }
        let model_version = answers.first().map(|a| a.result.model.id.clone()).unwrap_or_default();
        Self { model_name: task.as_str().to_owned(), model_version, id, outputs }
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemCode::InvalidField, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: Value) -> Result<Vec<InferRequest>, Problem> {
        serde_json::from_value::<V2Request>(json).unwrap().requests(TaskType::ClipTextSimilarity)
    }

    fn tensor(name: &str, data: &Value) -> Value {
        let n = data.as_array().unwrap().iter().map(|v| v.as_array().map_or(1, Vec::len)).sum::<usize>();
        serde_json::json!({"name": name, "shape": [n], "datatype": "BYTES", "data": data})
    }

    #[test]
    fn each_item_is_a_request() {
        let inputs =
            [tensor("data", &serde_json::json!([["a"], ["b"]])), tensor("candidates", &serde_json::json!(["x"]))];
        let all = request(serde_json::json!({"parameters": {"top_k": 2}, "inputs": inputs})).unwrap();
        assert_eq!(all.iter().map(|r| r.data.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(
            all.iter().all(|r| r.options.top_k == Some(2) && r.options.candidates.as_deref() == Some(&["x".into()]))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let detail = |json| request(json).unwrap_err().detail;
        assert!(detail(serde_json::json!({"inputs": []})).contains("no tensor"));
        let numbers =
            serde_json::json!({"inputs": [{"name": "data", "shape": [1], "datatype": "FP32", "data": [1.0]}]});
        assert!(detail(numbers).contains("BYTES"));
        let shape = serde_json::json!({"inputs": [{"name": "data", "shape": [3], "datatype": "BYTES", "data": ["x"]}]});
        assert!(detail(shape).contains("shape"));
        let top_k =
            serde_json::json!({"parameters": {"top_k": "many"}, "inputs": [tensor("data", &serde_json::json!(["x"]))]});
        assert!(detail(top_k).contains("top_k"));
    }
}
