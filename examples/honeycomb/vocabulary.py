"""The words the Honeycomb rows are made of: domains with their columns, and phrases for every part of a question.

Each table is a block of text. A line at the margin names an entry, up to its colon, and the indented lines under it
go on with its items, which ` | ` or a new line sets apart. The held-out rows have domains and sentences of their own;
the words for operators, such as "is above", are those of the training rows.
"""

# An entry is a domain's name and what its events are called. An item is a column and some values it takes;
# a column without values is true or false.
TRAIN_DOMAINS = """
http requests: http.route /login /checkout /api/orders /api/users/search /health | http.method GET POST PUT DELETE
  http.status_code 200 201 404 429 500 503 | http.host shop.example.com api.example.com admin.example.com
  http.user_agent Chrome/124 Firefox/125 curl/8.5 | client.country US DE BR IN JP | user.id u-1042 u-2210 u-877
  response_size_bytes 1024 65536 1000000 | request_size_bytes 512 4096 20000 | ttfb_ms 50 100 300 | retry_count 1 2 3
  upstream.latency_ms 20 150 400 | tls.version TLSv1.2 TLSv1.3 | rate_limited | bot
database queries: db.operation SELECT INSERT UPDATE DELETE | db.system postgres mysql redis
  db.table orders users invoices items | db.user app-writer app-reader admin-ops | rows_examined 1000 50000 1000000
  rows_returned 1 100 5000 | lock_wait_time_ms 5 50 250 | query_time_ms 10 100 1000 | pool.size 10 20 50
  pool.wait_time_ms 1 25 200 | db.shard shard-a shard-b shard-c | replica | index_used | slow_query
  planner.cost 100 2500 90000
kubernetes events: k8s.pod.name api-7f9c worker-5d2b cron-81aa | k8s.namespace payments search kube-system
  k8s.node node-a1 node-b2 | k8s.cluster prod-east prod-west staging-1 | k8s.container.name nginx envoy app-server
  restart_count 1 3 5 10 | cpu_millicores 100 500 2000 | memory_mb 128 512 2048 | container.exit_code 0 1 137 143
  image.tag v1.4.2 v2.0.0-rc1 | event.reason OOMKilled BackOff Unhealthy | startup_time_s 5 30 90
  disk_used_gb 5 20 100 | throttled | ready
frontend page views: page.path /home /cart /product/shoes /search/results | browser.name Chrome Safari Firefox Edge
  browser.version v124.0 v17.4-beta v125.1 | device.type phone tablet desktop | lcp_ms 1200 2500 4000
  inp_ms 100 200 500 | cls_score 0.1 0.25 0.5 | page_load_time_ms 800 2000 5000 | bundle_size_kb 150 300 900
  referrer google.com newsletter twitter.com | screen.width 375 768 1440 | locale en-US fr-FR pt-BR | js_errors 1 3 10
  logged_in | first_visit | ad_blocker
queue messages: queue.name orders-high emails-bulk image-resize | messaging.system kafka rabbitmq sqs
  topic user.created order.paid | consumer.group billing-workers audit-workers | partition.key eu-tenants us-tenants
  lag_seconds 5 60 600 | wait_time_ms 10 200 3000 | processing_time_ms 20 250 900 | payload_size_bytes 256 10000 250000
  delivery_attempts 1 2 5 | queue.depth 100 1000 20000 | producer.app web-api batch-import mobile-gateway | dead_letter
  redelivered | compressed
payments payments: payment.method card paypal bank_transfer apple_pay | card.brand visa mastercard amex
  currency USD EUR GBP JPY | amount_usd 10 100 1000 | fee_usd 0.3 1.5 20 | gateway stripe-us adyen-eu braintree
  decline.code do_not_honor expired_card | merchant.id m-100 m-245 m-999 | customer.country US FR NG AU
  risk_score 20 50 80 95 | gateway_latency_ms 150 600 2500 | installments 1 3 12 | refunded | three_d_secure
  first_purchase
cache lookups: cache.backend redis memcached in-process | cache.key_prefix user: session: cart:items
  cache.region use1 euw1 aps1 | lookup_time_ms 1 5 20 | ttl_seconds 60 300 3600 | entry_size_bytes 200 8000 64000
  evictions 1 50 500 | key_count 1 10 100 | memory_used_mb 64 512 4096 | cache.node cache-01 cache-02 cache-07
  client.library jedis-4 ioredis-5 go-redis | stale_time_seconds 10 120 900 | cache.hit | expired | warm
llm completions: llm.model gpt-4o claude-sonnet llama-3-70b | llm.provider openai anthropic bedrock
  prompt_tokens 500 2000 8000 | completion_tokens 50 400 1500 | time_to_first_token_ms 200 800 2000
  temperature 0.2 0.7 1.0 | cost_usd 0.01 0.05 0.5 | prompt.template summarize-v2 chat-v5 classify-v1
  finish_reason stop-token max-length tool-call | tool_calls 1 3 8 | eval_score 0.5 0.8 0.95
  customer.plan free-trial pro enterprise | streamed | cached_prompt | guardrail_blocked
ci builds: ci.pipeline deploy-prod unit-tests nightly-e2e | git.branch main release/2.1 feature/login
  ci.runner linux-large mac-m2 | repo.name web-client core-api infra-tools
  build.outcome passed-clean failed-tests timed-out | queue_time_s 5 60 300 | build_time_s 120 600 1800
  tests_failed 1 5 20 | tests_run 100 1500 9000 | coverage_pct 60 80 95 | flaky_tests 1 2 6
  artifact_size_mb 20 150 700 | author dana priya-s tomas | cache_restored | retried | scheduled
email emails: email.template welcome-1 reset-password weekly-digest | email.provider sendgrid mailgun ses-us
  smtp_code 250 421 450 550 | recipient.domain gmail.com outlook.com yahoo.co.jp
  campaign spring-sale black-friday onboarding | send_time_ms 80 400 1500 | attachment_size_bytes 1000 500000 5000000
  link_clicks 1 2 9 | spam_score 1.5 3 5 | recipients 1 50 1000 | bounce.type hard-bounce soft-bounce
  sender.address no-reply@acme.io team@acme.io | opened | unsubscribed | bounced
mobile app sessions: app.version v5.1.0 v5.2.3-beta v4.9.9 | os.name iOS Android
  device.model Pixel-8 iPhone-15 Galaxy-S24 | screen.name home-feed profile-edit settings
  carrier verizon-us t-mobile orange-fr | network.type wifi cellular-5g | cold_start_time_ms 800 1500 4000
  frozen_frames 1 10 60 | battery_pct 15 50 80 | session_length_s 30 300 1800 | api_calls 5 20 100
  install.source app-store play-store sideload | crashed | foreground | push_enabled
search searches: search.index products-v3 articles-v1 users-v2 | search.query_type fuzzy exact-match semantic
  sort_order price-asc relevance-desc | result_count 1 10 500 | search_time_ms 30 120 700 | clicked_position 1 3 10
  query_length 3 12 40 | shards_hit 1 4 16 | language en-GB de-DE es-MX | filter_count 1 2 5
  ranker.version bm25-base neural-v4 | candidates 100 1000 10000 | zero_results | spell_corrected | personalized
storage uploads: bucket media-public logs-archive user-exports | storage.class standard-ia glacier-deep hot
  content.type image/png video/mp4 | object.size_mb 1 50 2000 | upload_time_s 1 10 120 | throughput_mbps 5 80 400
  parts 1 8 64 | checksum.algorithm sha256 crc32c | storage.zone zone-a zone-b zone-c
  s3_error_code AccessDenied SlowDown NoSuchKey | disk_queue_time_ms 2 15 90 | uploader.team design-ops data-eng growth
  encrypted | multipart | duplicate
network connections: net.protocol tcp udp quic-v1 | dns.question api.internal db.internal cdn.example.net
  dns.rcode NOERROR NXDOMAIN SERVFAIL | peer.address 10.0.4.17 10.1.9.3 172.16.0.8 | net.peer_port 53 80 443 5432
  rtt_ms 5 40 180 | packets_lost 1 10 100 | bytes_sent 1500 60000 2000000 | bytes_received 900 45000 8000000
  handshake_time_ms 10 60 250 | jitter_ms 1 8 30 | firewall.rule allow-web deny-all allow-vpn | resolved | ipv6
  reset_by_peer
jobs job runs: job.name nightly-report sync-inventory purge-logs | job.schedule hourly daily-2am weekly
  worker.pool pool-small pool-gpu | job.owner finance-team data-platform sre | run_time_s 10 300 3600
  records_processed 100 10000 500000 | records_skipped 1 25 900 | peak_memory_mb 200 1024 8000
  job.exit_code 0 1 2 130 | start_delay_s 1 30 600 | attempt_count 1 2 4 | job.trigger manual-run cron-tick webhook
  skipped | timed_out | backfill
"""

HELD_OUT_DOMAINS = """
auth logins: auth.method password saml-sso magic-link passkey | auth.provider okta auth0 google-workspace
  login.city Berlin Lagos Austin | tenant.id t-301 t-418 t-950
  failure.reason bad-password locked-account expired-link | mfa.type totp sms-code push-prompt | failed_attempts 1 3 5
  token_lifetime_s 300 3600 86400 | hash_time_ms 40 120 300 | threat_score 10 60 90 | session_age_s 60 900 7200
  oauth.scope read-only write-all profile-basic | password_reset | new_device | suspicious
iot readings: sensor.type temperature-probe humidity-cell vibration | sensor.id s-0012 s-0447 s-0901
  site plant-north plant-south depot-3 | firmware.version fw-1.8 fw-2.0 fw-2.1-rc | battery_voltage 3.1 3.4 3.7
  signal_dbm -90 -75 -60 | reading_value 10 55 120 | gateway.id gw-07 gw-19 gw-33 | sample_interval_s 10 60 600
  uplink_delay_ms 90 450 2000 | uptime_hours 24 720 5000 | calibration_error 0.1 0.5 2.0 | alarm | tampered | charging
video streams: video.title the-long-road cooking-101 derby-final | video.codec h264 av1 hevc-10bit
  cdn.name fastly-eu akamai-us cloudfront | player.version pl-8.0 pl-8.3 pl-9.0-alpha | resolution 720p 1080p 2160p
  bitrate_kbps 800 3000 12000 | rebuffer_count 1 2 6 | startup_time_ms 400 1200 3500 | watch_time_s 30 600 5400
  dropped_frames 5 50 300 | viewer.region north-america western-europe southeast-asia | segment_size_kb 200 900 4000
  live | muted | drm_protected
gaming matches: game.map dust-canyon frozen-keep sky-harbor | game.mode ranked-solo casual-duo arena
  player.rank bronze-2 gold-1 diamond-3 | game.server gs-fra-1 gs-iad-4 gs-syd-2 | ping_ms 20 60 150
  tick_rate 30 64 128 | match_length_s 300 900 2400 | kills 1 10 25 | players_online 10 60 100
  matchmaking_time_s 5 45 180 | anticheat.verdict clean-pass flagged-aim | client.build b-4410 b-4415 b-4502
  abandoned | won | crossplay
shipping deliveries: carrier.name ups-ground dhl-express royal-mail | warehouse wh-dallas wh-leeds wh-osaka
  package.weight_kg 1 5 20 | shipping.class overnight two-day freight-slow | destination.country Canada Spain Korea
  transit_time_hours 12 48 120 | distance_km 20 300 4000 | scan_count 1 4 9 | shipping_cost_usd 5 25 150
  customs_delay_hours 1 8 72 | route.code rt-north-5 rt-coast-2 rt-loop-9 | driver.id d-118 d-240 d-377 | late
  damaged | signature_required
"""

# Columns any domain may have beside its own.
COMMON_COLUMNS = """
common: duration_ms 100 250 500 1000 | service.name checkout-api billing-worker web-gateway | error | sampled
  deployment.environment production staging canary-eu | cloud.region us-east-1 eu-west-1 ap-south-1
  host.name host-12 host-31 host-88 | trace.trace_id 4bf92f-a1 c0ffee-77 | error.message timeout-reached bad-gateway
"""

DURATIONS = {
    "10 minutes": 600, "30 minutes": 1800, "hour": 3600, "2 hours": 7200, "4 hours": 14400, "8 hours": 28800,
    "12 hours": 43200, "day": 86400, "3 days": 259200, "week": 604800, "2 weeks": 1209600, "30 days": 2592000,
}  # fmt: skip
STEPS = {"1 minute": 60, "5 minute": 300, "15 minute": 900, "30 minute": 1800, "1 hour": 3600, "6 hour": 21600}
PERCENTILES = {
    "P001": "0.1th", "P01": "1st", "P05": "5th", "P10": "10th", "P25": "25th", "P50": "50th", "P75": "75th",
    "P90": "90th", "P95": "95th", "P99": "99th", "P999": "99.9th",
}  # fmt: skip

# What the slots stand for: {things} the events; {m} and {m2} measures; {c} a column, {cs} its values in the plural;
# {by} the breakdowns {g} and {groups} what is ranked, {n} of them; {where} filters right after {things}, {scope}
# filters elsewhere, {f} the filters themselves; {when} the time at the end of a sentence, {lead} at its start;
# {d} a duration, {a} and {b} moments; {cmp} a bound; {v} a value; {p} and {nth} a percentile.
TRAIN_PHRASES = """
count: how many {things}{where} were there{by}{when}? | {lead}how many {things}{where} do we have{by}?
  count {things}{where}{by}{when} | what is the number of {things}{where}{by}{when}?
  show the number of {things}{where}{by}{when} | {lead}count the {things}{where}{by}
  give me a count of {things}{where}{by}{when} | how many {things}{where} did we see{by}{when}?
  number of {things}{where}{by}{when} | {lead}what is the count of {things}{where}{by}?
measure: what is the {m}{by}{scope}{when}? | {lead}what is the {m}{by}{scope}? | show the {m}{by}{scope}{when}
  show me the {m}{by}{scope}{when} | what was the {m}{by}{scope}{when}? | {lead}show the {m}{by}{scope}
  give me the {m}{by}{scope}{when} | find the {m}{by}{scope}{when} | calculate the {m}{by}{scope}{when}
  {m}{by}{scope}{when} | {lead}what was the {m}{by}{scope}? | {lead}find the {m}{by}{scope}
pair: what are the {m} and the {m2}{by}{scope}{when}? | show the {m} and the {m2}{by}{scope}{when}
  {lead}what are the {m} and the {m2}{by}{scope}? | give me the {m} and the {m2}{by}{scope}{when}
  {lead}show the {m} and the {m2}{by}{scope} | compare the {m} and the {m2}{by}{scope}{when}
  what were the {m} and the {m2}{by}{scope}{when}? | show the {m} together with the {m2}{by}{scope}{when}
  find the {m} and the {m2}{by}{scope}{when}
heatmap: show a heatmap of {c}{by}{scope}{when} | {lead}show a heatmap of {c}{by}{scope}
  heatmap of {c}{by}{scope}{when} | how is {c} distributed{by}{scope}{when}?
  what is the distribution of {c}{by}{scope}{when}? | show the distribution of {c}{by}{scope}{when}
  draw a heatmap of {c}{by}{scope}{when} | give me a heatmap of {c}{by}{scope}{when}
  {lead}how is {c} distributed{by}{scope}?
distinct: how many distinct {cs} are there{by}{scope}{when}? | how many unique {cs} are there{by}{scope}{when}?
  {lead}how many distinct {cs} were there{by}{scope}? | how many distinct {cs} did we see{by}{scope}{when}?
  count the distinct {cs}{by}{scope}{when} | {lead}count the unique {cs}{by}{scope}
  how many unique {cs} did we see{by}{scope}{when}? | count unique {cs}{by}{scope}{when}
concurrency: how many {things}{where} run at the same time{by}{when}?
  what is the concurrency of {things}{where}{by}{when}? | show the concurrency of {things}{where}{by}{when}
  {lead}how many {things}{where} were running at once{by}? | how many concurrent {things}{where} were there{by}{when}?
  {lead}show the concurrency of {things}{where}{by} | how many {things}{where} were in progress at once{by}{when}?
  show concurrent {things}{where}{by}{when}
rate: how fast is the {m} changing{by}{scope}{when}? | what is the rate of change of the {m}{by}{scope}{when}?
  show the rate of change of the {m}{by}{scope}{when} | {lead}how fast was the {m} changing{by}{scope}?
  at what rate is the {m} changing{by}{scope}{when}? | how quickly is the {m} changing{by}{scope}{when}?
  {lead}what was the rate of change of the {m}{by}{scope}? | rate of change of the {m}{by}{scope}{when}
top: which {n} {groups} have the {best} {m}{scope}{when}? | {top} {n} {groups} by {m}{scope}{when}
  show the {n} {groups} with the {best} {m}{scope}{when} | list the {top} {n} {groups} by {m}{scope}{when}
  {lead}what are the {n} {groups} with the {best} {m}{scope}? | show me the {top} {n} {groups} by {m}{scope}{when}
  {lead}which {n} {groups} had the {best} {m}{scope}? | give me the {n} {groups} with the {best} {m}{scope}{when}
  find the {top} {n} {groups} ranked by {m}{scope}{when}
slowest: which {n} {groups} are {slow} by {m}{scope}{when}? | what are the {n} {slow} {groups} by {m}{scope}{when}?
  show the {n} {slow} {groups} by {m}{scope}{when} | {lead}which {n} {groups} were {slow} by {m}{scope}?
  list the {n} {slow} {groups} by {m}{scope}{when} | find the {n} {slow} {groups} by {m}{scope}{when}
  {lead}show the {n} {slow} {groups} by {m}{scope} | give me the {n} {slow} {groups} by {m}{scope}{when}
most: which {n} {groups} have the {most} {things}{where}{when}?
  {lead}which {n} {groups} had the {most} {things}{where}?
  show the {n} {groups} with the {most} {things}{where}{when}
  list the {n} {groups} with the {most} {things}{where}{when}
  what are the {n} {groups} with the {most} {things}{where}{when}?
  find the {n} {groups} with the {most} {things}{where}{when}
  {lead}show the {n} {groups} with the {most} {things}{where}
  which {n} {groups} saw the {most} {things}{where}{when}?
sorted: what is the {m}{by}{scope}{when}, {sort}? | show the {m}{by}{scope}{when}, {sort}
  {lead}show the {m}{by}{scope}, {sort} | what was the {m}{by}{scope}{when}, {sort}?
  give me the {m}{by}{scope}{when}, {sort} | list the {m}{by}{scope}{when}, {sort}
  {lead}what is the {m}{by}{scope}, {sort}? | find the {m}{by}{scope}{when}, {sort}
having: for which {groups} is the {m} {cmp}{scope}{when}? | {lead}for which {groups} was the {m} {cmp}{scope}?
  show only the {groups} whose {m} is {cmp}{scope}{when} | list the {groups} whose {m} is {cmp}{scope}{when}
  which are the {groups} whose {m} is {cmp}{scope}{when}? | {lead}list the {groups} whose {m} was {cmp}{scope}
  give me the {groups} whose {m} is {cmp}{scope}{when} | find {groups} whose {m} is {cmp}{scope}{when}
by: by {g} | per {g} | for each {g} | grouped by {g} | broken down by {g} | split by {g}
step: in {d} intervals | in {d} steps | at {d} granularity
where: where {f} | for which {f} | in which {f}
scope: where {f} | for cases where {f} | considering only cases where {f}
when: in the last {d} | over the last {d} | in the past {d} | over the past {d} | during the last {d}
  within the last {d}
between: between {a} and {b} | from {a} to {b}
since: since {a} | from {a} onwards
until: until {b} | before {b}
starting: for the {d} starting at {a} | in the {d} after {a}
filter =: {c} is {v} | {c} equals {v} | {c} = {v} | {c} is equal to {v}
filter !=: {c} is not {v} | {c} does not equal {v} | {c} != {v} | {c} is not equal to {v}
filter >: {c} is above {v} | {c} is over {v} | {c} is greater than {v} | {c} is more than {v} | {c} > {v}
  {c} exceeds {v}
filter >=: {c} is at least {v} | {c} >= {v} | {c} is {v} or more | {c} is greater than or equal to {v}
filter <: {c} is below {v} | {c} is under {v} | {c} is less than {v} | {c} < {v}
filter <=: {c} is at most {v} | {c} <= {v} | {c} is {v} or less | {c} is less than or equal to {v}
filter starts-with: {c} starts with {v} | {c} begins with {v} | {c} has the prefix {v}
filter does-not-start-with: {c} does not start with {v} | {c} does not begin with {v} | {c} lacks the prefix {v}
filter contains: {c} contains {v} | {c} includes {v} | {c} has {v} in it
filter does-not-contain: {c} does not contain {v} | {c} does not include {v} | {c} does not have {v} in it
filter exists: {c} exists | {c} is set | {c} is present | {c} has a value
filter does-not-exist: {c} does not exist | {c} is not set | {c} is missing | {c} is absent
filter in: {c} is one of {v} | {c} is any of {v} | {c} is in {v}
filter not-in: {c} is not one of {v} | {c} is none of {v} | {c} is not in {v}
bound =: equal to {v} | exactly {v}
bound !=: not {v} | not equal to {v}
bound >: above {v} | over {v} | greater than {v} | more than {v}
bound >=: at least {v} | {v} or more | greater than or equal to {v}
bound <: below {v} | under {v} | less than {v}
bound <=: at most {v} | {v} or less | less than or equal to {v}
sort descending: highest first | sorted from highest to lowest | in descending order
sort ascending: lowest first | sorted from lowest to highest | in ascending order
sort by descending: sorted by {g} descending | ordered by {g} descending | in descending order of {g}
sort by ascending: sorted by {g} | ordered by {g} | in ascending order of {g}
COUNT: number of {things} | total number of {things} | count of {things}
COUNT_DISTINCT: number of distinct {cs} | number of unique {cs} | distinct {c} count
AVG: average {c} | mean {c} | average of {c}
SUM: total {c} | sum of {c} | summed {c}
MAX: maximum {c} | max {c} | peak {c}
MIN: minimum {c} | min {c} | minimum of {c}
P50: median {c} | p50 {c} | 50th percentile of {c}
percentile: {p} {c} | {nth} percentile of {c} | {p} of {c} | {nth} percentile {c}
"""

HELD_OUT_PHRASES = """
count: tell me how many {things}{where} there were{by}{when} | {lead}how many {things}{where} occurred{by}?
  I need the number of {things}{where}{by}{when} | can you count the {things}{where}{by}{when}?
measure: tell me the {m}{by}{scope}{when} | I want to see the {m}{by}{scope}{when}
  {lead}what does the {m} look like{by}{scope}? | can you show the {m}{by}{scope}{when}?
  we need the {m}{by}{scope}{when}
pair: tell me the {m} and the {m2}{by}{scope}{when} | I want to see the {m} and the {m2}{by}{scope}{when}
  {lead}can you show both the {m} and the {m2}{by}{scope}?
heatmap: make a heatmap of {c}{by}{scope}{when} | I want a heatmap of {c}{by}{scope}{when}
  {lead}what does the distribution of {c} look like{by}{scope}?
distinct: tell me how many distinct {cs} there are{by}{scope}{when}
  {lead}how many different {cs} appeared{by}{scope}? | I need the count of unique {cs}{by}{scope}{when}
concurrency: tell me how many {things}{where} ran at the same time{by}{when}
  can you show the concurrency of {things}{where}{by}{when}? | {lead}what was the concurrency of {things}{where}{by}?
rate: tell me how fast the {m} is changing{by}{scope}{when} | I want the rate of change of the {m}{by}{scope}{when}
  {lead}how rapidly did the {m} change{by}{scope}?
top: tell me which {n} {groups} have the {best} {m}{scope}{when} | I want the {top} {n} {groups} by {m}{scope}{when}
  {lead}name the {n} {groups} with the {best} {m}{scope} | can you list the {top} {n} {groups} by {m}{scope}{when}?
slowest: tell me which {n} {groups} are {slow} by {m}{scope}{when} | I want the {n} {slow} {groups} by {m}{scope}{when}
  {lead}name the {n} {slow} {groups} by {m}{scope}
most: tell me which {n} {groups} have the {most} {things}{where}{when}
  {lead}name the {n} {groups} with the {most} {things}{where}
  I want the {n} {groups} with the {most} {things}{where}{when}
sorted: tell me the {m}{by}{scope}{when}, {sort} | I want to see the {m}{by}{scope}{when}, {sort}
  {lead}can you show the {m}{by}{scope}, {sort}?
having: tell me for which {groups} the {m} is {cmp}{scope}{when} | I want the {groups} whose {m} is {cmp}{scope}{when}
  {lead}name the {groups} whose {m} was {cmp}{scope}
by: for every {g} | separated by {g} | within each {g}
where: such that {f} | provided that {f}
scope: such that {f} | if {f} | looking only at cases where {f}
when: during the past {d} | within the past {d} | over the previous {d}
"""

# Pairs of these name made-up columns of training rows. None is part of a held-out column.
INVENTED_WORDS = """
account adapter agent alert archive asset audit backlog badge balance banner basket beacon billing block bonus border
bridge broker bucket budget buffer cargo channel charge claim cohort command commit contract counter coupon
cursor damper deposit digest draft drift engine entity export factor feed field filter folder format frame gadget
header hint import index inlet intake invoice journal kernel label layer ledger lesson lever locale margin
marker mesh meter module motor needle notice object offer outlet packet panel parcel patch payload permit phase pilot
plugin portal prefix probe profile proxy pulse quota record relay replica report reserve ribbon ripple salary
schema script slice socket spool stage stamp strand studio summary surge survey syntax tariff ticket
toolkit tracker trunk tunnel valve vector vendor voucher wallet widget window worker zone
"""
