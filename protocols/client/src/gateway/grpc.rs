//! The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`, on the port of the REST interface.
//!
//! ```text
//! ServerLive  ServerReady  ServerMetadata  ModelReady  ModelMetadata  ModelInfer  RepositoryIndex
//! ```
//!
//! HTTP/2 without TLS and without upgrade ("prior knowledge"), as gRPC clients speak it to an insecure port. Requests go
//! the way of REST requests: the same checks, limits and keys (metadata `authorization`), the same wishes (metadata
//! `ai-link-level`, `ai-link-dealer`, `ai-link-evaluators`, or parameters), the same texts of errors. A client that
//! cancels a call has cancelled the job.

mod convert;
mod messages;
mod status;

use std::pin::Pin;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::http::Response as HttpResponse;
use axum::routing::post;
use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::metadata::{self, named};
use super::{Gateway, GatewayError, infer};
use messages::{
    ModelIndex, ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse, TensorMetadata,
};

pub(super) use status::status;

/// What the paths of the service's methods begin with.
pub(super) const SERVICE: &str = "/inference.GRPCInferenceService/";
/// Room for names and shapes beside the tensors, which `body_bytes` bounds.
const AROUND: usize = 64 << 10;

pub(super) fn routes() -> Router<Gateway> {
    let path = |method: &str| format!("{SERVICE}{method}");
    Router::new()
        .route(&path("ServerLive"), method(server_live))
        .route(&path("ServerReady"), method(server_ready))
        .route(&path("ServerMetadata"), method(server_metadata))
        .route(&path("ModelReady"), method(model_ready))
        .route(&path("ModelMetadata"), method(model_metadata))
        .route(&path("ModelInfer"), method(model_infer))
        .route(&path("RepositoryIndex"), method(repository_index))
        .route(&path("{method}"), post(unknown))
}

/// A method: its function is given what was asked, with its metadata.
fn method<Q, A, F>(function: fn(Gateway, Request<Q>) -> F) -> axum::routing::MethodRouter<Gateway>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: Future<Output = Result<A, GatewayError>> + Send + 'static,
{
    post(
        async move |State(gateway): State<Gateway>, request: HttpRequest| {
            let most = gateway.body_bytes.saturating_add(AROUND);
            let codec = ProstCodec::<A, Q>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(most);
            grpc.unary(Method { gateway, function }, request).await
        },
    )
}

struct Method<Q, F> {
    gateway: Gateway,
    function: fn(Gateway, Request<Q>) -> F,
}

impl<Q, A, F> UnaryService<Q> for Method<Q, F>
where
    F: Future<Output = Result<A, GatewayError>> + Send + 'static,
{
    type Response = A;
    type Future = Pin<Box<dyn Future<Output = Result<Response<A>, Status>> + Send>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answering = (self.function)(self.gateway.clone(), request);
        Box::pin(async move {
            match answering.await {
                Ok(answer) => Ok(Response::new(answer)),
                Err(error) => Err(status(&error)),
            }
        })
    }
}

async fn unknown() -> HttpResponse<Body> {
    Status::unimplemented("this service has no such method").into_http()
}

async fn server_live(
    _: Gateway,
    _: Request<ServerLiveRequest>,
) -> Result<ServerLiveResponse, GatewayError> {
    Ok(ServerLiveResponse { live: true })
}

async fn server_ready(
    gateway: Gateway,
    _: Request<ServerReadyRequest>,
) -> Result<ServerReadyResponse, GatewayError> {
    let ready = gateway.client.models().await.is_ok();
    Ok(ServerReadyResponse { ready })
}

async fn server_metadata(
    _: Gateway,
    _: Request<ServerMetadataRequest>,
) -> Result<ServerMetadataResponse, GatewayError> {
    Ok(ServerMetadataResponse {
        name: metadata::NAME.into(),
        version: metadata::VERSION.into(),
        extensions: metadata::EXTENSIONS.map(Into::into).to_vec(),
    })
}

async fn model_ready(
    gateway: Gateway,
    request: Request<ModelReadyRequest>,
) -> Result<ModelReadyResponse, GatewayError> {
    let asked = request.into_inner();
    let (name, version) = named(&asked.name, version(&asked.version))?;
    let model = gateway.client.model(&name, version).await;
    model.map_err(GatewayError::Model)?;
    Ok(ModelReadyResponse { ready: true })
}

async fn model_metadata(
    gateway: Gateway,
    request: Request<ModelMetadataRequest>,
) -> Result<ModelMetadataResponse, GatewayError> {
    let asked = request.into_inner();
    let (name, version) = named(&asked.name, version(&asked.version))?;
    let described = metadata::describe(&gateway, &name, version).await?;
    let tensors = |tensors: &[ai_link_program::TensorMeta]| {
        let each = tensors.iter().map(|tensor| TensorMetadata {
            name: tensor.name.clone(),
            datatype: tensor.datatype.as_str().into(),
            shape: tensor.shape.clone(),
        });
        each.collect()
    };
    Ok(ModelMetadataResponse {
        name: name.to_string(),
        versions: vec![described.version.to_string()],
        platform: described.platform(),
        inputs: tensors(&described.signature.inputs),
        outputs: tensors(&described.signature.outputs),
    })
}

async fn model_infer(
    gateway: Gateway,
    request: Request<ModelInferRequest>,
) -> Result<ModelInferResponse, GatewayError> {
    let _permit = gateway.permit()?;
    let (metadata, _, asked) = request.into_parts();
    let (name, version) = named(&asked.model_name, version(&asked.model_version))?;
    let (request, form) = convert::request(asked)?;
    let headers = metadata.into_headers();
    let answer = infer::evaluate(&gateway, &headers, name, version, request).await?;
    Ok(convert::response(answer, form))
}

async fn repository_index(
    gateway: Gateway,
    _: Request<RepositoryIndexRequest>,
) -> Result<RepositoryIndexResponse, GatewayError> {
    let models = gateway.client.models().await;
    let models = models.map_err(|e| GatewayError::Model(crate::ModelError::Chain(e)))?;
    let index = models.iter().map(|name| ModelIndex {
        name: name.to_string(),
        state: "READY".into(),
        ..Default::default()
    });
    Ok(RepositoryIndexResponse {
        models: index.collect(),
    })
}

/// Messages have no other form for a version that is not named.
fn version(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
