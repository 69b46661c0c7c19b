// Stands for AITER's sorting kernels, whose text is part of their revision. As in the real file of AITER's commit
// e4048607, an expert id is used without a look whether it is negative.
IndexType eid = x[j.value];
if(eid < kargs.num_experts) p_expert_mesh[eid * mesh_stride + curr_token_id] = curr_topk_id + 1;
