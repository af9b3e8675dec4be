// The same request at a constant arrival rate: iterations start when they are due, whoever still waits.
import http from 'k6/http';

export const options = {
  summaryTrendStats: ['min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  scenarios: {
    open: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE),
      timeUnit: '1s',
      duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: Number(__ENV.CLIENTS),
    },
  },
};

export default function () {
  http.post(`${__ENV.URL}/infer`, __ENV.BODY, { headers: { 'Content-Type': 'application/json' } });
}
