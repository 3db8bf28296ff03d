import { describe } from 'vitest'
import { describeApiContract } from '../contract/api-contract.ts'
import { noRealApi, RealApi } from './harness/real-api.ts'

if (noRealApi === undefined) describeApiContract('kube-apiserver', () => RealApi.start())
else describe.skip(`the Kubernetes API of kube-apiserver (${noRealApi})`, () => {})
