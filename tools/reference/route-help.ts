/** What a route of the control API is for: its parameters, and the interface in shared/api that it answers with. */
interface RouteHelp {
  readonly what: string;
  readonly parameters?: string;
  /** Name of an interface, or a media type. */
  readonly answer: string;
}

/** By folder and route: the routes themselves are found in the sources. */
export const routeHelp: Readonly<Record<'obu' | 'broker', Readonly<Record<string, RouteHelp>>>> = {
  obu: {
    'GET /v1/status': { what: 'the OBU at this moment', answer: 'ObuStatus' },
    'GET /metrics': { what: 'the metrics', answer: 'Prometheus text' },
    'GET /v1/manifest': {
      what: 'the manifest that is wanted, and the generations that are kept',
      parameters: '`generation=N`: that one instead',
      answer: 'ManifestReply',
    },
    'POST /v1/manifest': {
      what: 'apply the manifest in the body (YAML)',
      parameters:
        '`file=NAME`: what messages call it. `dryRun=1`: only say what would be done. `loads=IMAGE,…`: images that are about to be loaded',
      answer: 'AppliedReply, or DryRunReply',
    },
    'POST /v1/rollback': {
      what: 'return to the last manifest that was good',
      parameters: '`workload=NAME`: only that workload',
      answer: 'AppliedReply',
    },
    'GET /v1/workloads/:name': { what: 'why a workload is in its state', answer: 'Explanation' },
    'GET /v1/workloads/:name/logs': {
      what: 'what a workload printed',
      parameters: '`tail=N`: only the last lines. `follow=1`: go on',
      answer: 'LogLine, one in each line',
    },
    'POST /v1/workloads/:name/freeze': { what: 'stop its processes where they are', answer: '`{}`' },
    'POST /v1/workloads/:name/thaw': { what: 'let them go on', answer: '`{}`' },
    'GET /v1/usage': { what: 'what the containers use', answer: 'list of ContainerUsage' },
    'GET /v1/offload-decision': {
      what: 'how the place of one of the newest offloads was chosen; `id`: its id, or `last`',
      answer: 'OffloadDecision',
    },
    'GET /v1/grants': { what: 'what each workload may touch', answer: 'list of GrantStatus' },
    'GET /v1/events': {
      what: 'what happened lately',
      parameters: '`after=ID`: later ones. `name=NAME`: of one workload, bus, camera or place. `follow=1`: go on',
      answer: 'list of ObuEvent; with `follow=1` one in each line',
    },
    'GET /v1/signals': {
      what: 'values of signals',
      parameters: '`path=PATTERN` (may be repeated): a branch means all below it, `*` one level. `follow=1`: go on',
      answer: 'list of SignalReading; with `follow=1` one in each line',
    },
    'POST /v1/signals/:path': {
      what: 'set the target of an actuator; the body is `{ "value": … }`',
      parameters: '`timeoutMs=N`: how long to wait for the vehicle. `wait=0`: do not wait',
      answer: 'SignalSetReply',
    },
    'GET /v1/cameras/:name/snapshot': { what: 'one picture', answer: '`image/jpeg`' },
  },
  broker: {
    'GET /v1/status': { what: 'the broker at this moment', answer: 'BrokerStatus' },
    'GET /metrics': { what: 'the metrics', answer: 'Prometheus text' },
    'GET /healthz': { what: 'whether the process answers', answer: '`{ "ok": true }`' },
    'GET /readyz': {
      what: 'whether it takes offloads: it listens, its packages are loaded, and it is not being drained',
      answer: '`{ "ready": true }`; otherwise 503 with `ready` false and a `reason`',
    },
    'GET /v1/tenants': { what: 'what each tenant has here, uses, and was refused', answer: 'list of TenantStatus' },
    'GET /v1/neighbours': {
      what: 'the brokers that the policy names as neighbours',
      answer: 'list of NeighbourStatus',
    },
    'GET /v1/packages': { what: 'the tasks that can be offloaded here', answer: 'list of PackageStatus' },
    'GET /v1/offloads': {
      what: 'what waits and runs now',
      parameters:
        '`limit=N`: how many at most (100; up to 10000). `tenant=NAME`, `vehicle=ID`, `state=waiting` or `running`: only those',
      answer: 'OffloadPage',
    },
    'GET /v1/state': {
      what: 'the keys of sessions that have a value, never the values',
      parameters: '`limit=N`: how many at most (100; up to 10000). `tenant=NAME`: only of this tenant',
      answer: 'StatePage',
    },
    'POST /v1/forget': {
      what: 'remove state, results and pushed packages of a tenant; the body is `{ "tenant": "NAME" }`',
      answer: 'ForgottenTenant',
    },
    'GET /v1/versions': {
      what: 'the lowest version of each task that is taken, by `versions: forward` of the policy',
      answer: 'list of VersionFloor',
    },
    'POST /v1/versions': {
      what: 'set it, or with `to` null take any; the body is `{ "task": "NAME", "to": "VERSION" }` and may have `tenant` (empty: the operator)',
      answer: 'VersionReset',
    },
    'GET /v1/vehicles': {
      what: 'the vehicles that are connected',
      parameters: '`limit=N`: how many at most (100; up to 10000). `tenant=NAME`: only of this tenant',
      answer: 'VehiclePage',
    },
    'GET /v1/events': {
      what: 'what happened lately',
      parameters: '`after=ID`: later ones. `name=NAME`: of one tenant, task or source. `follow=1`: go on',
      answer: 'list of BrokerEvent; with `follow=1` one in each line',
    },
    'GET /v1/drain': { what: 'whether it is being drained', answer: 'DrainStatus' },
    'POST /v1/drain': {
      what: 'take nothing new and send vehicles elsewhere; the body may be `{ "forMs": N, "to": ["BROKER", …] }`',
      answer: 'DrainStatus',
    },
    'DELETE /v1/drain': { what: 'take offloads again', answer: 'DrainStatus' },
  },
};
