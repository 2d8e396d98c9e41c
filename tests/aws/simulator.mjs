// One question a line in, one answer a line out: what IAM would decide. Run beside `iam-simulate`.
import { createInterface } from 'node:readline'
import { isWildcardOnlyAction, runSimulation } from '@cloud-copilot/iam-simulate'
import { validateIdentityPolicy } from '@cloud-copilot/iam-policy'

const none = { identityPolicies: [], serviceControlPolicies: [], resourceControlPolicies: [] }

async function decide(simulation) {
  const { action, resource } = simulation.request
  if (await isWildcardOnlyAction(...action.split(':'))) resource.resource = '*'
  const { overallResult, errors } = await runSimulation({ ...none, ...simulation }, {})
  return { result: overallResult, errors }
}

const answer = ({ policy, simulation }) =>
  policy ? { errors: validateIdentityPolicy(policy) } : decide(simulation)

for await (const line of createInterface({ input: process.stdin })) {
  let said
  try {
    said = await answer(JSON.parse(line))
  } catch (error) {
    said = { errors: String(error) }
  }
  console.log(JSON.stringify(said))
}
